"""The demo's log, and every search of the course in it and in a log that is as odd as can be."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import needed

from .conftest import ROOT

Entry = dict[str, Any]


@pytest.fixture
def jq() -> None:
    needed.program("jq")


# Each search, and what is right: said once more, in Python.
SELECTIONS: dict[str, Callable[[Entry], bool]] = {
    'select(.level=="ERROR")': lambda entry: entry["level"] == "ERROR",
    'select(.user_id=="user_123")': lambda entry: entry.get("user_id") == "user_123",
    "select(.duration_ms > 5000)": lambda entry: (entry.get("duration_ms") or 0) > 5000,
    'select(.timestamp >= "2024-01-26T10:00:00Z")': lambda entry: entry["timestamp"][:19] > MOMENT,
    'select(.timestamp >= "2024-01-26T10:00:00")': lambda entry: entry["timestamp"][:19] >= MOMENT,
}
MOMENT = "2024-01-26T10:00:00"
COST = """jq 'select(.event_type=="llm_call") | .cost_usd' | awk '{sum+=$1} END {print sum}'"""

# What an application may log, through the application's own configuration.
ODD = """
import logging, sys
from pathlib import Path
from lab_app.json_logs import configure_logging, user_id
from lab_app.settings import Settings

configure_logging(Settings(_env_file=None, log_dir=Path(sys.argv[1]), log_level="DEBUG"))
logger = logging.getLogger("lab_app.test")

cycle = ["start"]
cycle.append(cycle)
nested, deep = [], []
for _ in range(240):
    nested = [nested]
for _ in range(5000):
    deep = [deep]
values = ["half \\ud800", "nul \\0", "a\\u2028b\\x85c", b"\\xff", 2**63 - 1, 2**64, 10**5000, {(1, 2): 3}]
values += [{1, 2}, float("nan"), float("inf"), cycle, nested, deep, object(), ValueError("x"), Path("/x")]
for value in values:
    logger.info("odd", extra={"value": value})
    logger.info(value)
    logger.error("%s and %s", value)
    logger.info("call", extra={"event_type": "llm_call", "cost_usd": 0.0015, "value": value})
    logger.info("slow", extra={"duration_ms": 5000.5, "value": value})
    logger.info("quick", extra={"duration_ms": 4999.5, "value": value})
    logger.info("forged", extra={"level": "ERROR", "timestamp": "9999", "logger": "x", "value": value})
    logger.info({"level": "ERROR", "timestamp": "9999", "event_type": "llm_call", "cost_usd": 1000})
    user_id.set("user_123")
    logger.info("his", extra={"value": value})
    user_id.set(None)
logger.info("not known yet", extra={"duration_ms": None, "event_type": "llm_call", "cost_usd": None})
for created in (1706263199.999999, 1706263200, 1706263200.5, 1706263201, 1706263201.000001):
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, "at ten", (), None)
    record.created = created
    logger.handle(record)
"""


def python(*arguments: str, folder: Path) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def entries(path: Path) -> list[Entry]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def shell(command: str) -> str:
    program = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(program, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    assert python("-c", ODD, str(folder), folder=folder) == ""
    return folder / "app.log"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    python("-m", "lab_app.logging_demo", str(folder / "logs"), folder=folder)
    return folder / "logs" / "app.log"


@pytest.mark.usefixtures("jq")
@pytest.mark.parametrize("search", SELECTIONS)
def test_a_search_finds_all_that_it_is_for_and_nothing_else_among_odd_values(odd: Path, search: str) -> None:
    expected = [entry for entry in entries(odd) if SELECTIONS[search](entry)]
    found = shell(f"cat {odd} | jq '{search}' | jq -c '[.timestamp, .message]'").rstrip("\n").split("\n")
    assert 0 < len(expected) < len(entries(odd))
    assert [json.loads(line) for line in found] == [[e["timestamp"], e["message"]] for e in expected]


@pytest.mark.usefixtures("jq")
def test_the_sum_of_the_costs_is_right_among_odd_values(odd: Path) -> None:
    calls = [entry for entry in entries(odd) if entry["message"] == "call"]
    assert float(shell(f"cat {odd} | {COST}")) == pytest.approx(0.0015 * len(calls))


@pytest.mark.usefixtures("jq")
def test_jq_reads_every_line_of_a_log_of_odd_values(odd: Path) -> None:
    assert shell(f"cat {odd} | jq . | jq -c .message | wc -l").strip() == str(len(entries(odd)))


def test_the_demo_shows_every_level_and_every_kind_of_log(demo: Path) -> None:
    assert {entry["level"] for entry in entries(demo)} == {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    access, error, metrics = (
        entries(demo.with_name(f"{name}.log")) for name in ("access", "error", "metrics")
    )
    assert {"method", "path", "status_code", "duration_ms", "ip_address"} <= set(access[0])
    assert {"model", "prompt_tokens", "completion_tokens", "duration_ms", "cost_usd"} <= set(metrics[0])
    failed = next(entry for entry in error if entry["event_type"] == "llm_error")
    assert {"model", "error", "user_id", "traceback"} <= set(failed)
    assert "TimeoutError" in failed["traceback"]


def test_the_demo_makes_the_same_records_each_time(demo: Path, tmp_path: Path) -> None:
    python("-m", "lab_app.logging_demo", str(tmp_path / "logs"), folder=tmp_path)
    again = entries(tmp_path / "logs" / "app.log")
    assert [entry | {"timestamp": ""} for entry in again] == [
        entry | {"timestamp": ""} for entry in entries(demo)
    ]


def test_without_a_directory_the_demo_makes_one_of_its_own_that_nobody_else_can_enter(tmp_path: Path) -> None:
    said = [python("-m", "lab_app.logging_demo", folder=tmp_path) for _ in range(2)]
    folders = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(folders) == 2
    for folder in folders:
        assert any(str(folder) in text for text in said)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert entries(folder / "app.log")
