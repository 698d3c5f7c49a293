"""Which log files are the application's: what several checks must agree on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labcheck.checks.logs import app_logs_of, it_writes_to_files
from labcheck.checks.model import Criterion
from labcheck.errors import Unreadable
from labcheck.facts.logs import Held
from labcheck.facts.processes import Processes
from tests.checks import test_item_04, test_item_05
from tests.checks.findings import only
from tests.checks.written_logs import CRON, HELD, INIT, NOW, ONE, RUNNING, SOCKETS, files, values


def test_logs_are_those_that_the_answering_processes_hold_open() -> None:
    stranger = replace(CRON, pid=900, name="caddy", arguments="caddy run", uids=frozenset({999}))
    logs = app_logs_of(
        **values(
            files(held=(*HELD, Held(900, 4, "/var/log/caddy/access.log", written_last=True))),
            running=Processes((*RUNNING.all, stranger)),
        )
    )
    assert [(log.name, log.kind) for log in logs.logs] == [
        ("app.log", "application"),
        ("access.log", "access"),
        ("error.log", "error"),
        ("metrics.log", "metrics"),
    ]
    assert logs.behind == {8000: frozenset({800}), 8001: frozenset({801})}


@pytest.mark.parametrize(
    ("output", "expected", "says"),
    [
        ("pipe:[7]", "FAIL", "through a pipe"),
        ("/dev/null", "FAIL", "no log file"),
        ("socket:[7]", "UNKNOWN", "journal"),
        ("", "UNKNOWN", "does not tell"),
    ],
)
def test_application_without_a_log_file_is_judged_by_where_its_output_goes(
    output: str, expected: str, says: str
) -> None:
    here = values(files(held=(Held(800, 1, output), Held(800, 2, output))))
    if expected == "UNKNOWN":
        with pytest.raises(Unreadable, match=says):
            list(it_writes_to_files(**here))
    else:
        assert says in only(it_writes_to_files(**here)).observed


def test_an_application_in_a_container_keeps_its_log_elsewhere() -> None:
    inside = replace(ONE, contained=True)
    proxy = replace(CRON, pid=800, name="docker-proxy")
    for process in (inside, proxy):
        with pytest.raises(Unreadable, match="container"):
            list(it_writes_to_files(**values(running=Processes((INIT, process)), sockets=SOCKETS[:1])))


def test_application_that_does_not_run_logs_nothing() -> None:
    finding = only(it_writes_to_files(**values(running=Processes((INIT,)), sockets=())))
    assert finding.verdict.value == "FAIL" and "no process" in finding.observed


@pytest.mark.parametrize(
    ("criterion", "more"),
    [*test_item_04.CRITERIA, *test_item_05.CRITERIA],
    ids=lambda value: value.name if isinstance(value, Criterion) else "",
)
def test_log_findings_do_not_change_with_time(criterion: Criterion, more: dict[str, Any]) -> None:
    """Notebooks print what was observed and expected, and compare it with the next run."""
    now, later = (list(criterion(**values(replace(files(), now=NOW + s)), **more)) for s in (0, 1))
    assert [(one.observed, one.expected) for one in now] == [(one.observed, one.expected) for one in later]
