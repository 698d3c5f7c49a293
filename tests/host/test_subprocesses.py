"""Programs that lab.py runs: side by side, ended with their children, and missing."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from labcheck.wait import wait_until
from tests.host.processes import ends
from vagrant.host import (
    subprocesses,
)
from vagrant.host.progress import Problem


def test_a_program_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no-such-program is not there"):
        subprocesses.run(["no-such-program"], log=tmp_path / "x.log")


def test_works_side_by_side_give_their_results_in_order(tmp_path: Path) -> None:
    def say(word: str, pause: float) -> str:
        ended = subprocesses.run(["sh", "-c", f"sleep {pause}; echo {word}"], log=tmp_path / f"{word}.log")
        return ended.text

    assert subprocesses.side_by_side(lambda _: say("slow", 0.5), lambda _: say("fast", 0)) == ["slow", "fast"]


@pytest.mark.parametrize("way", ["run", "foreground"])
def test_an_interrupt_while_a_program_starts_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, way: str
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen[str]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    if way == "run":
        with pytest.raises(KeyboardInterrupt):
            subprocesses.run(["sleep", "300"], log=tmp_path / "x.log")
    else:
        assert subprocesses.foreground(["sleep", "300"]) != 0
    assert len(started) == 1 and ends(started[0])


def test_a_work_that_breaks_off_ends_the_programs_of_the_other_one(tmp_path: Path) -> None:
    note, began = tmp_path / "began", time.monotonic()
    after: list[bool] = []

    def lasting(stopped: threading.Event) -> None:
        subprocesses.run(["sh", "-c", f"touch {note}; sleep 300"], log=tmp_path / "lasting.log")
        after.append(stopped.is_set())

    def interrupted(_: threading.Event) -> None:
        wait_until(note.exists, what="the other work's program", timeout=120, every=0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        subprocesses.side_by_side(lasting, interrupted)
    assert after == [True]
    assert time.monotonic() - began < 200


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "grandchild"
    before = time.monotonic()
    command = ["sh", "-c", f"sleep 300 & echo $! > {note}; wait"]
    assert subprocesses.run(command, log=tmp_path / "log" / "x.log", limit=1.0).status == 124
    assert time.monotonic() - before < 20
    assert ends(int(note.read_text())), "the program's child lives on"
