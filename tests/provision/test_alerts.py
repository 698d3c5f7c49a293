"""The stand-in internet's alert receiver, served by a real uvicorn and sent what Alertmanager sends."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from labcheck.wait import wait_until
from tests.provision.served import INTERNET, served

KEY = "a" * 32


def receiver(database: Path) -> AbstractContextManager[str]:
    return served("alerts:app", ALERTS_DATABASE=str(database))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with receiver(tmp_path_factory.mktemp("alerts") / "messages.sqlite") as address:
        yield address


def client(address: str, key: str = KEY) -> httpx2.Client:
    return httpx2.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=5)


def alert(name: str, summary: str, status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": summary},
        "startsAt": "2026-11-26T10:00:00Z",
    }


def webhook(*alerts: dict[str, Any], status: str = "firing") -> dict[str, Any]:
    return {"version": "4", "status": status, "receiver": "pager", "alerts": list(alerts)}


def test_a_message_is_in_the_inbox_of_its_key_and_in_no_other(address: str) -> None:
    with client(address, "b" * 32) as mine, client(address, "c" * 32) as theirs:
        sent = mine.post("/messages", json=webhook(alert("DiskFull", "/ is full", severity="warning")))
        assert sent.status_code == 201
        (message,) = mine.get("/messages").json()["messages"]
        assert message["id"] == sent.json()["id"] and message["status"] == "firing"
        assert message["alerts"][0]["labels"] == {"alertname": "DiskFull", "severity": "warning"}
        assert theirs.get("/messages").json()["messages"] == []
        assert mine.get("/messages", params={"after": message["id"]}).json()["messages"] == []


def test_the_screen_has_a_line_for_each_message_and_one_for_each_alert_of_a_group(address: str) -> None:
    first = alert("HealthCheckFails", "/health is bad", severity="critical")
    group = [alert("TargetDown", f"{name} is down", severity="warning") for name in ("b", "a")]
    group[0]["status"] = "resolved"
    with client(address, "d" * 32) as mine:
        mine.post("/messages", json=webhook(first))
        mine.post("/messages", json=webhook(*group))
        mine.post("/messages", json=webhook(first | {"status": "resolved"}, status="resolved"))
        assert mine.get("/screen").text.splitlines() == [
            "FIRING critical HealthCheckFails: /health is bad",
            "FIRING warning TargetDown: 2 alerts",
            "  a is down",
            "  resolved b is down",
            "OK critical HealthCheckFails: /health is bad",
        ]


@pytest.mark.parametrize("authorization", [None, "Bearer short", "Bearer " + "x" * 129, f"Basic {KEY}"])
def test_inbox_needs_a_key(address: str, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    for path in ("/messages", "/screen"):
        assert httpx2.get(address + path, headers=headers, timeout=5).status_code == 401
    for path in ("/messages", "/heartbeat?within=5"):
        answer = httpx2.post(address + path, headers=headers, json=webhook(alert("A", "a")), timeout=5)
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[" * 100_000,
        b"[]",
        b'{"version": "3", "status": "firing", "alerts": [{"labels": {"alertname": "A"}}]}',
        b'{"version": "4", "status": "perhaps", "alerts": [{"labels": {"alertname": "A"}}]}',
        b'{"version": "4", "status": "firing", "alerts": []}',
        b'{"version": "4", "status": "firing", "alerts": [{"labels": {}}]}',
        b'{"version": "4", "status": "firing", "alerts": ["A"]}',
        b"\xff",
    ],
)
def test_message_that_is_no_webhook_is_refused_and_kept_nowhere(address: str, body: bytes) -> None:
    with client(address, "e" * 32) as mine:
        assert mine.post("/messages", content=body).status_code == 400
        assert mine.post("/heartbeat?within=60", content=body).status_code == 400
        assert mine.get("/messages").json() == {"messages": [], "heartbeat": {"expected": False}}


def test_a_body_without_an_end_is_refused(address: str) -> None:
    with client(address) as mine:
        assert mine.post("/messages", content=b" " * (257 * 1024)).status_code == 413


@pytest.mark.parametrize("within", ["", "0", "soon", "5d", "-5", "5.5", "9999999"])
def test_a_heartbeat_says_when_the_next_one_comes(address: str, within: str) -> None:
    with client(address, "f" * 32) as mine:
        beat = mine.post("/heartbeat", params={"within": within}, json=webhook(alert("Heartbeat", "alive")))
        assert beat.status_code == 400
        assert mine.get("/messages").json()["heartbeat"] == {"expected": False}


def test_heartbeat_that_stops_is_reported_once_and_so_is_one_that_comes_back(address: str) -> None:
    beat = webhook(alert("Heartbeat", "alive"))
    with client(address, "0" * 32) as mine:
        assert mine.post("/heartbeat?within=1s", json=beat).status_code == 201
        assert mine.get("/messages").json()["heartbeat"]["missing"] is False
        assert mine.get("/screen").text == ""
        wait_until(lambda: mine.get("/screen").text, what="the alarm", timeout=10, every=0.2)
        assert mine.get("/messages").json()["heartbeat"]["missing"] is True
        mine.post("/heartbeat?within=5m", json=beat)
        said = mine.get("/screen").text.splitlines()
        assert [line.partition(":")[0] for line in said] == ["SILENCE", "OK"]
        heart = mine.get("/messages").json()["heartbeat"]
        assert (heart["within"], heart["beats"], heart["missing"]) == (300, 2, False)


def test_messages_and_hearts_outlive_a_restart(tmp_path: Path) -> None:
    with receiver(tmp_path / "kept.sqlite") as address, client(address) as mine:
        mine.post("/messages", json=webhook(alert("DiskFull", "/ is full")))
        mine.post("/heartbeat?within=2", json=webhook(alert("Heartbeat", "alive")))
    with receiver(tmp_path / "kept.sqlite") as address, client(address) as mine:
        found = mine.get("/messages").json()
        assert [message["alerts"][0]["labels"]["alertname"] for message in found["messages"]] == ["DiskFull"]
        assert found["heartbeat"]["expected"] is True
        # No heartbeat comes any more: that is noticed after a restart as well.
        wait_until(lambda: "SILENCE" in mine.get("/screen").text, what="the alarm", timeout=10, every=0.2)


def test_the_key_itself_is_kept_nowhere(tmp_path: Path) -> None:
    with receiver(tmp_path / "kept.sqlite") as address, client(address, "1234567890" * 4) as mine:
        mine.post("/messages", json=webhook(alert("DiskFull", "/ is full")))
        mine.post("/heartbeat?within=60", json=webhook(alert("Heartbeat", "alive")))
    assert b"1234567890" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_an_inbox_holds_the_newest_thousand_messages_and_the_others_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = importlib.util.spec_from_file_location("alerts", INTERNET / "alerts.py")
    assert spec and spec.loader
    alerts = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "alerts", alerts)  # where its dataclass looks itself up
    spec.loader.exec_module(alerts)
    alerts.inboxes.add("another", "alert", "firing", [])
    for number in range(1003):
        alerts.inboxes.add("full", "alert", "firing", [{"number": number}])
    found = alerts.inboxes.after("full", 0)
    assert (len(found), found[0]["alerts"]) == (1000, [{"number": 3}])
    assert len(alerts.inboxes.after("another", 0)) == 1
