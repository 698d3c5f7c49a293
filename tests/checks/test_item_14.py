"""Item 14 as pure functions: where errors go, and what the collector has of one, in; findings out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from labcheck.checks import item_14_errors as item
from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.app_processes import Sent, Tracked, tracking
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes
from labcheck.result import Result
from labcheck.verdict import Finding
from tests.checks.findings import text_of, verdict

TARGET = Target(host="server", domain="app.lab.example")
KNOWN = Accounts((Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),), {})
LINE = "/home/aiapp/app/.venv/bin/python uvicorn lab_app.main:app --port"


def process(number: int) -> Process:
    line = f"{LINE} {8000 + number}"
    return Process(800 + number, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, line, False)


THREE = Processes(tuple(process(number) for number in range(3)))
SOCKETS = tuple(Socket("tcp", "127.0.0.1", 8000 + number, "uvicorn", (800 + number,)) for number in range(3))
PLACE = Tracked(800, "errors.lab.example", "1", 200, "")


def tracked(*changes: dict[str, Any]) -> tuple[Tracked, ...]:
    given = [*changes, {}, {}, {}][:3]
    return tuple(replace(PLACE, pid=800 + number, **more) for number, more in enumerate(given))


def where(tracked_processes: tuple[Tracked, ...], running: Processes = THREE) -> list[Finding]:
    return list(item.each_process_was_told_where(tracked_processes, running, SOCKETS, KNOWN, target=TARGET))


def key(tracked_processes: tuple[Tracked, ...]) -> list[Finding]:
    return list(item.the_collector_takes_their_key(tracked_processes, {800, 801, 802}))


def test_processes_with_one_error_collector_pass() -> None:
    assert verdict(where(tracked())) == "PASS"
    assert text_of(where(tracked())) == "all 3 processes were told of errors.lab.example, project 1"


def test_process_without_an_error_collector_is_named() -> None:
    assert "port 8001 was told of no collector" in text_of(where((tracked()[0], tracked()[2])))
    assert verdict(where(())) == "FAIL" and len(where(())) == 3


def test_processes_with_different_error_collectors_fail() -> None:
    findings = where(tracked({}, {"project": "2"}))
    assert verdict(findings) == "FAIL" and "different places" in text_of(findings)


def test_application_that_does_not_run_fails() -> None:
    assert verdict(where((), Processes(()))) == "FAIL"


@pytest.mark.parametrize(
    ("change", "expected", "says"),
    [
        ({}, "PASS", "takes the key"),
        ({"status": 403}, "FAIL", "refuses the key"),
        ({"status": 404}, "FAIL", "does not know the project"),
        (
            {"status": None, "error": "no program listens there"},
            "FAIL",
            "errors.lab.example: no program listens there",
        ),
        ({"status": None, "error": "its certificate is not trusted"}, "FAIL", "not trusted"),
        ({"status": 502}, "UNKNOWN", "status 502"),
    ],
)
def test_collector_has_to_take_the_key(change: dict[str, Any], expected: str, says: str) -> None:
    findings = key(tracked(change, change, change))
    assert verdict(findings) == expected and says in text_of(findings)
    assert len(findings) == 1


def test_process_with_an_old_key_fails_although_others_have_the_right_one() -> None:
    assert verdict(key(tracked({}, {"status": 403}))) == "FAIL"


# ---- exercise ----------------------------------------------------------------------------------

NUMBER = "0123456789abcdef0123456789abcdef"
SAID = f"event {NUMBER}, request_id test-1, release 0.2.0\n"


def test_event_that_was_sent_is_read_from_what_the_command_says() -> None:
    assert item.was_sent(Sent(0, SAID)) == (NUMBER, "test-1", "0.2.0")


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (1, "the collector did not take it: status_403", "FAIL"),
        (1, "SENTRY_DSN is not set: errors go nowhere", "FAIL"),
        (0, "done", "FAIL"),
        (1, "No module named lab_app", "UNKNOWN"),
        (-1, "FileNotFoundError", "UNKNOWN"),
    ],
)
def test_event_that_was_not_sent_is_named_with_the_reason(status: int, text: str, expected: str) -> None:
    finding = item.was_sent(Sent(status, text))
    assert isinstance(finding, Finding) and finding.verdict.value == expected and text in finding.observed


def event(**changes: Any) -> dict[str, Any]:
    """An event as Sentry's and Bugsink's interfaces have it: its own data, in some under "data"."""
    frames = [{"function": "fail", "module": "lab_app.send_test_error", "lineno": 7}]
    exception = {"type": "RuntimeError", "value": "", "stacktrace": {"frames": frames}}
    data = {
        "release": "0.2.0",
        "tags": {"request_id": "test-1", "route": "none"},
        "exception": {"values": [exception]},
    }
    return {"id": "x", "data": data | changes}


def arrived(event: dict[str, Any], running: str = "0.2.0", *leaked: str) -> list[Finding]:
    return list(item.what_arrived(event, "test-1", "0.2.0", running, leaked))


def test_an_event_with_what_it_needs_and_no_more_passes() -> None:
    assert verdict(arrived(event())) == "PASS"
    assert verdict(arrived(event()["data"], "")) == "PASS"
    assert verdict(arrived(event(tags=[["request_id", "test-1"]]))) == "PASS"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tags": {}}, "without its request id"),
        ({"release": None}, "without its release"),
        ({"tags": {}, "release": None}, "without its request id and release"),
    ],
)
def test_event_without_its_request_id_or_release_fails(changes: dict[str, Any], says: str) -> None:
    assert verdict(arrived(event(**changes))) == "FAIL" and says in text_of(arrived(event(**changes)))


def test_a_release_that_is_not_running_fails() -> None:
    assert "says release 0.2.0, and 0.3.0 is running" in text_of(arrived(event(), "0.3.0"))


def values(value: str = "", **frame: Any) -> dict[str, Any]:
    return {"exception": {"values": [{"type": "E", "value": value, "stacktrace": {"frames": [frame]}}]}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (values(vars={"private": "'private-test-1'"}), "its local variables left this server"),
        (values("private-test-1"), "what the exception says left this server"),
        ({"request": {"headers": {"Cookie": "x"}, "data": "y"}}, "the request's headers, data left"),
    ],
)
def test_event_with_private_data_fails(changes: dict[str, Any], says: str) -> None:
    findings = arrived(event(**changes))
    assert verdict(findings) == "FAIL" and says in text_of(findings)


def test_secret_that_arrives_is_named_without_its_value() -> None:
    findings = arrived(event(), "0.2.0", "DATABASE_URL")
    assert verdict(findings) == "FAIL" and "the value of DATABASE_URL left" in text_of(findings)


# ---- the fact ----------------------------------------------------------------------------------


def test_error_tracking_fact_is_read() -> None:
    text = json.dumps([{"pid": 1, "collector": "c", "project": "1", "status": 200, "error": ""}])
    assert tracking.parse(Result(text, "", 0)) == (Tracked(1, "c", "1", 200, ""),)
    assert tracking.parse(Result("[]", "", 0)) == ()


@pytest.mark.parametrize(
    "result", [Result("", "", 127), Result("", "x", 1), Result("{", "", 0), Result("[1]", "", 0)]
)
def test_error_tracking_fact_that_is_not_understood_is_unreadable(result: Result) -> None:
    with pytest.raises(Unreadable):
        tracking.parse(result)
