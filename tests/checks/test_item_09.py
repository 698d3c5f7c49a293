"""Item 9 as pure functions: what Supervisor has and what runs in, findings out; and a killed worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labcheck.checks import item_09_supervisor as item_09
from labcheck.facts.processes import Processes, Unit
from labcheck.facts.supervisor import Program, ProgramFile, Supervisor
from labcheck.result import Result
from labcheck.verdict import Verdict
from tests.checks.findings import verdict
from tests.checks.supervised import BARE, INIT, KNOWN, RUNNING, SOCKETS, TARGET, with_second

PROGRAM = Program("aiapp", "aiapp-8000", "RUNNING", 800, True, True, "pid 800, uptime 0:00:10")
LOADED = Supervisor(True, "RUNNING", (PROGRAM,))


def test_application_that_does_not_run_fails() -> None:
    not_running = Processes((INIT,))
    loaded = Supervisor(False, "", ())
    assert verdict(item_09.its_programs_run(loaded, not_running, (), BARE, target=TARGET)) == "FAIL"


@pytest.mark.parametrize(
    "state", ["STOPPED", "STARTING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN"]
)
def test_program_in_another_state_than_running_fails(state: str) -> None:
    loaded = Supervisor(True, "RUNNING", (replace(PROGRAM, state=state),))
    assert verdict(item_09.its_programs_run(loaded, RUNNING, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


def test_a_worker_beside_supervisor_fails() -> None:
    assert verdict(item_09.nothing_runs_beside_it(LOADED, RUNNING, SOCKETS, KNOWN, target=TARGET)) == "PASS"
    beside = with_second(parent=1)
    assert verdict(item_09.nothing_runs_beside_it(LOADED, beside, SOCKETS, KNOWN, target=TARGET)) == "FAIL"


def test_systemd_service_that_runs_the_application_is_named() -> None:
    running = with_second(parent=1, unit="web.service")
    for loaded in (Supervisor(False, "", ()), Supervisor(True, "RUNNING", ())):
        (finding,) = item_09.its_programs_run(loaded, running, SOCKETS, KNOWN, target=TARGET)
        assert finding.next == "systemd runs it (web.service), and this check knows Supervisor alone"
    (finding,) = item_09.nothing_runs_beside_it(LOADED, running, SOCKETS, KNOWN, target=TARGET)
    assert finding.observed.endswith("is no child of Supervisor, but of systemd's web.service")
    assert finding.next == "let one of the two run it, systemd or Supervisor"


@pytest.mark.parametrize(
    ("file", "program", "expected"),
    [
        (ProgramFile("true", True), PROGRAM, "PASS"),
        (ProgramFile("unexpected", True), PROGRAM, "PASS"),
        (ProgramFile("false", True), PROGRAM, "FAIL"),
        (ProgramFile("true", False), PROGRAM, "FAIL"),
        (ProgramFile("true", True), replace(PROGRAM, kills_group=False), "FAIL"),
        (ProgramFile("true", True), replace(PROGRAM, autostart=False), "FAIL"),
    ],
)
def test_program_has_to_be_restarted_and_stopped_as_a_whole(
    file: ProgramFile, program: Program, expected: str
) -> None:
    loaded = Supervisor(True, "RUNNING", (program,))
    assert (
        verdict(item_09.it_restarts_and_stops_whole(loaded, {"aiapp-8000": file}, target=TARGET)) == expected
    )


def test_supervisor_has_to_start_at_boot() -> None:
    for state, expected in (("enabled", "PASS"), ("disabled", "FAIL"), ("masked", "FAIL")):
        units = {"supervisor": Unit("supervisor", True, True, state, 700)}
        assert verdict(item_09.it_starts_at_boot(units)) == expected


# ---- exercise ----------------------------------------------------------------------------------


def after_the_kill(monkeypatch: pytest.MonkeyPatch, states: list[Program]) -> tuple[Verdict, str]:
    """What is found where Supervisor reports these states, the last of them from then on."""
    answers = iter(states)
    last = [PROGRAM]

    def program(*_: Any) -> Program:
        last[0] = next(answers, last[0])
        return last[0]

    loaded = {item_09.supervisor: LOADED}
    monkeypatch.setattr(item_09, "gather", lambda *_, **__: loaded)
    monkeypatch.setattr(item_09, "programs_of_app", lambda *_: (PROGRAM,))
    monkeypatch.setattr(item_09, "_root", lambda *_, **__: Result("", "", 0))
    monkeypatch.setattr(item_09, "_ports", lambda _, pid: {8000})
    monkeypatch.setattr(item_09, "_program", program)
    monkeypatch.setattr(item_09, "LEFT_ALONE", 1)
    nothing: Any = type("Nothing", (), {"target": None})()
    (finding,) = item_09.a_killed_worker_is_back(nothing, nothing)
    return finding.verdict, finding.observed


EXITED = replace(PROGRAM, state="EXITED", pid=0)


@pytest.mark.parametrize("state", ["EXITED", "STOPPED", "FATAL"])
def test_a_worker_that_supervisor_leaves_alone_is_not_waited_for_to_the_end(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(item_09, "BACK_WITHIN", 10**6)  # seconds: this test would not end
    outcome = after_the_kill(monkeypatch, [replace(EXITED, state=state)])
    assert outcome == (Verdict.FAIL, "aiapp:aiapp-8000 was killed, and stays down")


def test_a_worker_that_takes_its_time_to_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = replace(PROGRAM, state="STARTING", pid=200)
    states = [EXITED, *[starting] * 5, EXITED, starting, replace(PROGRAM, pid=200)]
    outcome = after_the_kill(monkeypatch, states)
    assert outcome == (Verdict.PASS, "aiapp:aiapp-8000 was killed, and is RUNNING again")
