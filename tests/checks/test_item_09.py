"""Item 9: how long a killed worker is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labcheck.checks import item_09_supervisor as item_09
from labcheck.facts.supervisor import Program, Supervisor
from labcheck.result import Result
from labcheck.verdict import Verdict

WORKER = Program("aiapp", "aiapp-8000", "RUNNING", 100, True, True, "pid 100, uptime 0:01:02")


def after_the_kill(monkeypatch: pytest.MonkeyPatch, states: list[Program]) -> tuple[Verdict, str]:
    """What is found where Supervisor reports these states, the last of them from then on."""
    answers = iter(states)
    last = [WORKER]

    def program(*_: Any) -> Program:
        last[0] = next(answers, last[0])
        return last[0]

    loaded = {item_09.supervisor: Supervisor(True, "RUNNING", (WORKER,))}
    monkeypatch.setattr(item_09, "gather", lambda *_, **__: loaded)
    monkeypatch.setattr(item_09, "programs_of_app", lambda *_: (WORKER,))
    monkeypatch.setattr(item_09, "_root", lambda *_, **__: Result("", "", 0))
    monkeypatch.setattr(item_09, "_ports", lambda _, pid: {8000})
    monkeypatch.setattr(item_09, "_program", program)
    monkeypatch.setattr(item_09, "LEFT_ALONE", 1)
    nothing: Any = type("Nothing", (), {"target": None})()
    (finding,) = item_09.a_killed_worker_is_back(nothing, nothing)
    return finding.verdict, finding.saw


EXITED = replace(WORKER, state="EXITED", pid=0)


@pytest.mark.parametrize("state", ["EXITED", "STOPPED", "FATAL"])
def test_a_worker_that_supervisor_leaves_alone_is_not_waited_for_to_the_end(
    monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(item_09, "BACK_WITHIN", 10**6)  # seconds: this test would not end
    found = after_the_kill(monkeypatch, [replace(EXITED, state=state)])
    assert found == (Verdict.FAIL, "aiapp:aiapp-8000 was killed, and stays down")


def test_a_worker_that_takes_its_time_to_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = replace(WORKER, state="STARTING", pid=200)
    states = [EXITED, *[starting] * 5, EXITED, starting, replace(WORKER, pid=200)]
    found = after_the_kill(monkeypatch, states)
    assert found == (Verdict.PASS, "aiapp:aiapp-8000 was killed, and is RUNNING again")
