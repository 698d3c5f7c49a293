"""labcheck's program for the server, and the application itself: what it is told, and what it counts."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from labcheck.remote import app_processes
from tests import needed

from .conftest import KEY, ROOT, as_typed, wait_until
from .services import free_port, unprivileged
from .test_sentry import PUBLIC, Collector, collector
from .time_limits import GENEROUS

__all__ = ["collector"]
USERS_KEY = "key-of-the-first-user"
METRICS_TOKEN = "token-of-the-metrics"


@dataclass
class Running:
    pid: int
    url: str
    log: Path


@pytest.fixture
def running(
    model: str, database_url: str, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """An application as on a server, and the only one that is looked at."""
    port = free_port()
    token = tmp_path / "metrics.key"
    token.write_text(f"{METRICS_TOKEN}\n")
    environment = {
        "PATH": os.environ["PATH"],
        "METRICS_TOKEN_FILE": token.name,  # from where it works
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": model,
        "OPENAI_MODEL": "lab-small",
        "OPENAI_PRICED_AS": "gpt-4o-mini",
        "DATABASE_URL": as_typed(database_url),
        "API_KEYS": f"user_1:{USERS_KEY}",
        "LOG_DIR": str(tmp_path / "log"),
        "DAILY_BUDGET_USD": "7.5",
        "SENTRY_DSN": collector.dsn,
    }
    command = [sys.executable, "-m", "uvicorn", "lab_app.main:app", "--port", str(port)]
    every = app_processes.environments

    def own(wanted: str) -> Iterator[tuple[int, dict[str, str]]]:
        return (each for each in every(wanted) if each[0] == process.pid)

    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(url), "the application")
            monkeypatch.setattr(app_processes, "environments", own)
            monkeypatch.setattr(app_processes, "PATIENCE", GENEROUS)
            yield Running(process.pid, url, tmp_path / "log")
        finally:
            process.terminate()  # or leaving the `with` would wait for it without end


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/live", timeout=GENEROUS).status_code == 200
    except httpx2.HTTPError:
        return False


def test_a_process_is_told_of_its_collector_and_that_takes_its_key(
    running: Running, collector: Collector
) -> None:
    (found,) = app_processes.tracked()
    assert found == {
        "pid": running.pid,
        "collector": "127.0.0.1",
        "project": "7",
        "status": None,
        "error": "",
    }
    assert app_processes.taken() == [{**found, "status": 200}]
    assert not collector.events  # an empty envelope is no event


def test_a_wrong_key_a_wrong_name_and_nobody_are_told_apart(collector: Collector, nobody: str) -> None:
    wrong = collector.dsn.replace(PUBLIC, PUBLIC[::-1])
    assert app_processes.ask_collector(app_processes.urlsplit(wrong), None)["status"] == 403
    address = nobody.removesuffix("/v1").removeprefix("http://")
    assert (
        app_processes.ask_collector(app_processes.urlsplit(f"http://{PUBLIC}@{address}/1"), None)["error"]
        == "no program listens there"
    )
    assert (
        "no address" in app_processes.ask_collector(app_processes.urlsplit("errors.example/1"), None)["error"]
    )


def test_a_test_error_is_sent_as_the_process_would(running: Running, collector: Collector) -> None:
    done = app_processes.send(running.pid, ["python", "-m", "lab_app.send_test_error"])
    assert done["status"] == 0, done["output"]
    (event,) = collector.events
    assert event["event_id"] in done["output"]


def test_secrets_are_found_in_a_text_and_named_alone(running: Running) -> None:
    assert app_processes.leaked(running.pid, "nothing of the kind, at /api/chat") == []
    assert app_processes.leaked(running.pid, f'{{"a": "{USERS_KEY}"}}') == ["API_KEYS"]
    assert app_processes.leaked(running.pid, f"{KEY} {PUBLIC}") == ["OPENAI_API_KEY"]
    assert app_processes.leaked(running.pid, "of a-password-of-the-tests") == ["DATABASE_URL"]


def test_a_question_costs_the_same_in_ledger_log_and_metric(running: Running) -> None:
    (numbers,) = (process["before"] for process in app_processes.spent()["processes"])
    answerable = numbers["process_start_time_seconds"] + app_processes.START_IS_EARLY
    wait_until(lambda: time.time() > answerable, "a moment at which this process was surely there")
    seen = app_processes.question("/api/chat", "What does it cost?", "labcheck-1")
    assert (seen["status"], seen["error"]) == (200, "")
    assert Decimal(seen["ledger"]) == Decimal(seen["log"]) > 0
    assert abs(seen["metric"] - float(seen["log"])) < 1e-15
    headers = {"Authorization": f"Bearer {USERS_KEY}"}
    httpx2.post(
        f"{running.url}/api/chat", json={"message": "What does it cost?"}, headers=headers, timeout=GENEROUS
    )  # cached
    spent = app_processes.spent()
    assert (spent["error"], spent["ledger"]["calls"], spent["ledger"]["unpriced"]) == ("", 1, 0)
    assert spent["ledger"]["since_first"] == spent["ledger"]["since_last"] == seen["ledger"]
    (process,) = spent["processes"]
    assert process["after"]["app_daily_budget_usd"] == 7.5
    assert process["after"]["app_llm_cost_usd_total"] == float(seen["log"])
    (told,) = dict(app_processes.environments("DATABASE_URL")).values()
    # As when they start anew:
    later = app_processes.SUMS.format(first=time.time() + 60, last=time.time() + 60)
    ledger = json.loads(app_processes.ask(told["DATABASE_URL"], later))
    assert (ledger["calls"], ledger["unpriced"], ledger["since_first"]) == (1, 0, "0")


def test_a_process_without_its_token_counts_nothing_that_can_be_seen(running: Running) -> None:
    (running.log.parent / "metrics.key").unlink()
    assert "/metrics" in app_processes.spent()["error"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter: pytest's own are for root alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_token_is_read_with_the_account_of_the_process_and_not_with_root_s(open_folder: Path) -> None:
    needed.root("start a process of another account")
    secret, token = open_folder / "root.key", open_folder / "metrics.key"
    for file, mode in ((secret, 0o600), (token, 0o644)):
        file.write_text("what is in it\n")
        file.chmod(mode)
    with subprocess.Popen(["sleep", "60"], cwd="/", **unprivileged()) as process:
        found = [
            app_processes.metrics_token(process.pid, {"METRICS_TOKEN_FILE": str(file)})
            for file in (secret, token, open_folder / "none")
        ]
        process.terminate()
    assert found == ["", "what is in it", ""]


def test_what_was_asked_just_before_a_restart_is_not_put_down_to_the_new_process(running: Running) -> None:
    """Its start is told up to a second too early: what the ledger holds from then may be an older one's."""
    (told,) = dict(app_processes.environments("DATABASE_URL")).values()
    (numbers,) = (process["before"] for process in app_processes.spent()["processes"])
    insert = """INSERT INTO usage (asked_at, request_id, user_id, model, outcome,
      prompt_tokens, completion_tokens, estimated, cost_usd, duration_ms)
      VALUES (to_timestamp({}), 'before', 'user_1', 'lab-small', 'answered', 9, 9, false, 0.5, 10)"""
    app_processes.ask(told["DATABASE_URL"], insert.format(numbers["process_start_time_seconds"] + 0.9))
    ledger = app_processes.spent()["ledger"]
    assert (Decimal(ledger["since_first"]), Decimal(ledger["since_last"])) == (Decimal("0.5"), 0)


def test_refusals_are_counted_by_path_also_in_what_was_put_aside(running: Running) -> None:
    headers = {"Authorization": f"Bearer {USERS_KEY}"}
    seen = [
        httpx2.post(f"{running.url}/api/chat", json={}, headers=headers, timeout=GENEROUS).status_code
        for _ in range(11)
    ]
    assert seen == [422] * 10 + [429]
    wait_until(lambda: app_processes.refused() == {"/api/chat": 1}, "the line of the refused request")
    line = '{"status": %d, "path": "%s"}\n'
    (running.log / "access-old.log.1").write_text(line % (429, "/api/chat") + "no JSON, and 429\n")
    with gzip.open(running.log / "access-old.log.2.gz", "wt") as packed:
        packed.write(line % (429, "/api/chat") + line % (200, "/api/chat") + line % (429, "/other"))
    (running.log / "access-old.log.3.gz").write_bytes(b"cut off")
    assert app_processes.refused() == {"/api/chat": 3, "/other": 1}


def test_a_database_that_cannot_be_asked_says_why(running: Running) -> None:
    with pytest.raises(OSError, match="sqlite"):
        app_processes.ask("sqlite:///x.db", "SELECT 1")
    with pytest.raises(OSError, match="refused"):
        app_processes.ask(f"postgresql://a:b@127.0.0.1:{free_port()}/c", "SELECT 1")
