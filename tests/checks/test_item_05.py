"""Item 5 as pure functions: how a server rotates its logs in, findings out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labcheck.checks import item_05_rotation as rotation
from labcheck.checks.logs import NEEDS, app_logs_in
from labcheck.checks.model import Context, Criterion, Target
from labcheck.errors import Unreadable
from labcheck.facts.logs import Held
from labcheck.facts.processes import Processes
from labcheck.facts.rotation import DAY, HOUR, Handled, Rotation, Rule, Starter
from labcheck.gather import gather
from labcheck.remote.rotate_under_load import Outcome
from labcheck.ssh import Connection
from tests import needed
from tests.checks.findings import only, verdict
from tests.checks.written_logs import (
    CRON,
    FILES,
    FOLDER,
    HELD,
    LOG,
    NAMES,
    NOW,
    RUNNING,
    app_logs,
    files,
    path,
    values,
)


def handled(name: str, **changes: Any) -> Handled:
    return replace(Handled(path(name), moved=f"{path(name)}.1", made=(0o640, 1001, 1001)), **changes)


def rule(*some: Handled, **changes: Any) -> Rotation:
    """logrotate with one rule, for the four logs."""
    all_of_them = some or tuple(handled(name) for name in NAMES)
    loaded = Rule(f"{FOLDER}/*.log", DAY, 100 << 20, None, None, True, all_of_them)
    return Rotation(True, (replace(loaded, **changes),))


AGES = {f"{FOLDER}/*.log": 30}
TIMER = Starter("logrotate.timer", False, "", True, 2 * HOUR, idle=600.0)
IDLE_CRON = Starter("/etc/cron.hourly/logrotate", True, "it does nothing where systemd runs", True, HOUR)
CRITERIA: list[tuple[Criterion, dict[str, Any]]] = [
    (rotation.a_rule_is_loaded, {"loaded": rule()}),
    (rotation.its_limits_are_set, {"loaded": rule(), "ages": AGES}),
    (rotation.its_way_loses_no_line, {"loaded": rule()}),
    (rotation.it_is_started_often_enough, {"runs": (TIMER,), "loaded": rule()}),
    (rotation.it_has_seen_them, {"loaded": rule()}),
    (rotation.no_process_writes_to_a_rotated_log, {}),
]


def test_server_that_rotates_passes_every_criterion() -> None:
    for criterion, more in CRITERIA:
        findings = list(criterion(**values(), **more))
        assert verdict(findings) == "PASS", (criterion.name, findings)


@pytest.mark.parametrize(
    ("loaded", "says"),
    [
        (Rotation(installed=False), "not installed"),
        (Rotation(True), "no rule for app.log, access.log, error.log, metrics.log"),
        (rule(*(handled(name) for name in NAMES[:3])), "no rule for metrics.log"),
        (
            rule(
                *(
                    handled(name, moved="", refused="parent directory has insecure permissions")
                    for name in NAMES
                )
            ),
            "leaves app.log, access.log, error.log, metrics.log alone: parent directory has insecure",
        ),
    ],
)
def test_logrotate_rule_that_is_missing_or_not_followed_fails(loaded: Rotation, says: str) -> None:
    finding = only(rotation.a_rule_is_loaded(**values(), loaded=loaded))
    assert finding.verdict.value == "FAIL" and says in finding.observed and finding.next


def test_logrotate_file_that_is_ignored_is_named_with_the_reason() -> None:
    loaded = Rotation(True, (), ("error: Ignoring aiapp because it is writable by group or others.",))
    row = {f"{path('app')}.{number}": LOG for number in (1, 2)}  # from when it did not ignore it
    finding = only(rotation.a_rule_is_loaded(**values(files(also=row)), loaded=loaded))
    assert finding.verdict.value == "FAIL" and "writable by group" in finding.observed


def test_rotation_by_another_program_is_named_and_not_judged() -> None:
    row = {f"{path('app')}.{number}": LOG for number in (1, 2)}
    here = values(files(also=row), loaded=Rotation(True))
    with pytest.raises(Unreadable, match=r"something else than logrotate rotates app\.log"):
        list(rotation.a_rule_is_loaded(**here))
    assert not list(rotation.predecessors_are_packed(**here))
    assert not list(rotation.it_is_started_often_enough(**here, runs=()))
    once = {f"{path('app')}.1": LOG}
    assert verdict(rotation.a_rule_is_loaded(**values(files(also=once)), loaded=Rotation(True))) == "FAIL"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": None}, "no limit by age"),  # size 100M, which takes the place of daily
        ({"every": 7 * DAY}, "an age of 7 days"),
        ({"size": None}, "no limit by size"),
        ({"size": 1 << 30}, "a size of 1024 MB"),
        ({"at_least": 100 << 20}, "nothing below 100 MB"),  # minsize 100M
        ({"kept": 0}, "0 predecessors"),
        ({"kept": 30}, "30 predecessors, which in a busy time are 30 hours"),
        ({"kept": 719}, "719 predecessors"),
        ({"skips_empty": True}, "while a log is empty, its predecessors stay"),  # notifempty
        ({"packs": False}, "no compression"),
    ],
)
def test_rotation_limit_that_is_missing_or_too_wide_fails(changes: dict[str, Any], says: str) -> None:
    finding = only(rotation.its_limits_are_set(**values(), loaded=rule(**changes), ages=AGES))
    assert finding.verdict.value == "FAIL" and says in finding.observed


@pytest.mark.parametrize(
    ("kept", "days", "says"),
    [
        (30, None, ["no limit of days", "30 predecessors"]),
        (None, None, ["no limit of days"]),
        (30, 7, ["predecessors for 7 days", "30 predecessors"]),
        (None, 7, ["predecessors for 7 days"]),
        (30, 30, ["30 predecessors"]),
        (720, 30, []),  # more than an hourly timer can make in thirty days
        (None, 90, []),
    ],
)
def test_retention_of_thirty_files_is_not_one_of_thirty_days(
    kept: int | None, days: int | None, says: list[str]
) -> None:
    here = {"loaded": rule(kept=kept), "ages": {f"{FOLDER}/*.log": days}}
    finding = only(rotation.its_limits_are_set(**values(), **here))
    assert finding.verdict.value == ("FAIL" if says else "PASS")
    assert all(words in finding.observed for words in says)


def test_logrotate_rule_from_an_unusual_file_is_not_judged_by_its_days() -> None:
    with pytest.raises(Unreadable, match="in none of logrotate's usual files"):
        list(rotation.its_limits_are_set(**values(), loaded=rule(), ages={}))


def test_logrotate_rule_whose_logs_are_all_empty_is_unknown() -> None:
    empty = rule(*(Handled(path(name)) for name in NAMES), packs=None)
    assert verdict(rotation.its_limits_are_set(**values(), loaded=empty, ages=AGES)) == "UNKNOWN"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"moved": "", "copied": True, "emptied": True, "made": None}, "copytruncate"),
        ({"moved": "", "copied": True, "made": None}, "is copied"),
        ({"made": (0o640, 0, 4)}, "belongs to root, mode 0640"),
        ({"made": (0o440, 1001, 1001)}, "may not write to it"),
        ({"moved": f"{path('app')}-20261126"}, "dateext"),
        ({"moved": f"{path('app')}-2026112605"}, ""),
        ({"made": None}, ""),  # nocreate, in a folder of the application's own
    ],
)
def test_rotation_that_loses_lines_fails(changes: dict[str, Any], says: str) -> None:
    loaded = rule(handled("app", **changes))
    finding = only(rotation.its_way_loses_no_line(**values(), loaded=loaded))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.observed


def test_nocreate_in_a_folder_of_root_s_leaves_the_application_without_a_log() -> None:
    here = values(files(also={FOLDER: replace(FILES[FOLDER], uid=0, gid=1001)}))
    finding = only(rotation.its_way_loses_no_line(**here, loaded=rule(handled("app", made=None))))
    assert finding.verdict.value == "FAIL" and "has to make a new app.log" in finding.observed


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ((), "nothing starts logrotate"),
        (
            (replace(TIMER, off="it is inactive"),),
            "nothing starts logrotate (logrotate.timer: it is inactive)",
        ),
        (
            (replace(TIMER, gap=25 * HOUR), IDLE_CRON),
            "as seldom as every 25 h (/etc/cron.hourly/logrotate: it",
        ),
        ((replace(TIMER, gap=13 * HOUR),), "every 13 h"),  # hourly, with AccuracySec=12h
        ((replace(IDLE_CRON, off=""),), "(/etc/cron.hourly/logrotate: no cron runs)"),
    ],
)
def test_logrotate_that_is_started_too_seldom_fails(runs: tuple[Starter, ...], says: str) -> None:
    finding = only(rotation.it_is_started_often_enough(**values(), runs=runs, loaded=rule()))
    assert finding.verdict.value == "FAIL" and says in finding.observed


def test_cron_may_start_logrotate_where_its_daemon_runs() -> None:
    here = values(running=Processes((*RUNNING.all, CRON)))
    run = replace(IDLE_CRON, off="", idle=None)
    assert verdict(rotation.it_is_started_often_enough(**here, runs=(run,), loaded=rule())) == "PASS"


@pytest.mark.parametrize(
    "runs",
    [
        (replace(TIMER, off="it is inactive"), replace(TIMER, name="own.timer", usual=False)),
        (replace(TIMER, gap=25 * HOUR), replace(TIMER, name="own.timer", usual=False)),
        (replace(TIMER, gap=None),),
    ],
)
def test_logrotate_schedule_that_was_not_understood_is_not_judged(runs: tuple[Starter, ...]) -> None:
    with pytest.raises(Unreadable):
        list(rotation.it_is_started_often_enough(**values(), runs=runs, loaded=rule()))


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (TIMER, ""),
        (replace(TIMER, idle=None), ""),
        (replace(TIMER, at_boot=False), "is not started at boot"),
        (replace(TIMER, failed="exit-code"), "failed (exit-code)"),
        (replace(TIMER, idle=4.0 * HOUR), "should have started logrotate"),
    ],
)
def test_logrotate_timer_that_does_not_do_its_work_fails(run: Starter, says: str) -> None:
    findings = list(rotation.it_goes_on_being_started(**values(), runs=(run,), loaded=rule()))
    assert [says in finding.observed for finding in findings] == [True] * bool(says)


def test_log_that_no_run_of_logrotate_has_met_yet_fails() -> None:
    loaded = rule(handled("app"), handled("access", known=False))
    finding = only(rotation.it_has_seen_them(**values(), loaded=loaded))
    assert finding.verdict.value == "FAIL" and "has met access.log yet" in finding.observed


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "UNKNOWN"),  # nothing was put aside: nothing is said
        ([".1", ".2.gz", ".3.gz"], "PASS"),
        ([".1", ".2", ".3.gz"], "FAIL"),
        ([".3"], "FAIL"),
        (["-20261125", "-20261124.gz"], "PASS"),
        (["-20261125", "-20261124"], "FAIL"),
        ([".1", ".bak", "-note"], "PASS"),
    ],
)
def test_rotated_logs_but_the_newest_have_to_be_packed(names: list[str], expected: str) -> None:
    beside = {f"{path('app')}{name}": LOG for name in names}
    assert verdict(rotation.predecessors_are_packed(**values(files(also=beside)), loaded=rule())) == expected


def test_process_that_writes_to_a_rotated_log_is_named_and_one_that_holds_it_is_not() -> None:
    idle = Held(800, 9, f"{path('error')}.1", deleted=True)
    assert verdict(rotation.no_process_writes_to_a_rotated_log(**values(files(held=(*HELD, idle))))) == "PASS"
    at_the_moment = Held(801, 9, f"{path('app')}.1", written_last=True, written_at=float(LOG.born or 0))
    here = values(files(held=(*HELD, at_the_moment)))
    assert verdict(rotation.no_process_writes_to_a_rotated_log(**here)) == "PASS"
    stuck = replace(at_the_moment, written_at=NOW - 5)
    finding = only(rotation.no_process_writes_to_a_rotated_log(**values(files(held=(*HELD, stuck)))))
    assert (
        finding.observed
        == "app.log.1 is still written to; it is open in uvicorn lab_app.main:app on port 8001"
    )


def test_program_of_another_account_that_writes_to_a_rotated_log_is_named() -> None:
    stranger = replace(CRON, pid=900, name="supervisord")
    held = (*HELD, Held(900, 5, f"{path('app')}.1", written_last=True, written_at=NOW))
    here = values(files(held=held), running=Processes((*RUNNING.all, stranger)))
    assert "supervisord" in only(rotation.no_process_writes_to_a_rotated_log(**here)).observed


IDS = {"before": ["a", "b"], "after": ["c", "d"]}
EVERYWHERE = {path(name): list("abcd") if name in ("app", "access") else [] for name in NAMES}
NEW = {path(name): ["c", "d"] if name in ("app", "access") else [] for name in NAMES}


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (Outcome(**IDS, anywhere=EVERYWHERE, new=NEW), ""),
        (
            Outcome(**IDS, anywhere=EVERYWHERE | {path("access"): ["a", "c", "d"]}, new=NEW),
            "access.log lost lines",
        ),
        (
            Outcome(**IDS, anywhere=EVERYWHERE, new=NEW | {path("app"): ["d"]}),
            "still writes to the old app.log",
        ),
        (Outcome(failed="error: stat of it failed"), "went wrong: error: stat"),
    ],
)
def test_log_lines_are_all_found_after_a_rotation_and_late_ones_in_the_new_file(
    outcome: Outcome, says: str
) -> None:
    finding = only(rotation.what_became_of_the_lines(app_logs(), outcome))
    assert finding.verdict.value == ("FAIL" if says else "PASS") and says in finding.observed


@pytest.mark.parametrize(
    "outcome",
    [Outcome(refused="8000/tcp: refused"), Outcome(**IDS, anywhere={log: [] for log in EVERYWHERE}, new=NEW)],
)
def test_a_rotation_that_could_not_be_watched_is_not_judged(outcome: Outcome) -> None:
    with pytest.raises(Unreadable):
        list(rotation.what_became_of_the_lines(app_logs(), outcome))


# ---- exercise, on a real host ------------------------------------------------------------------

SERVER = Path(__file__).parents[1] / "remote" / "logging_server.py"


@pytest.fixture
def logging_server(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    started: list[subprocess.Popen[str]] = []

    def start(way: str) -> int:
        command = [sys.executable, str(SERVER), str(tmp_path), way]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout
        return int(started[0].stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_rotation_exercise_without_a_rule_for_the_logs_rotates_nothing_and_says_so(
    shared: Connection, logging_server: Callable[[str], int], tmp_path: Path
) -> None:
    needed.program("logrotate")
    target = Target("server", "app.example", app_port=logging_server("follows"))
    logs = app_logs_in(gather(shared, list(NEEDS.values())), target)
    assert [log.path for log in logs.logs] == [str(tmp_path / name) for name in ("app.log", "access.log")]
    with pytest.raises(Unreadable, match="logrotate would rotate none of them"):
        list(rotation.a_rotation_under_load_loses_nothing(shared, Context(target, shared)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "app.log"]
