"""The stages of `make test` shared out among servers, without one: which state each waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vagrant.host import chapters, snapshots, test_run
from vagrant.host.test_reports import StageResult
from vagrant.host.test_servers import Server, StageRunner
from vagrant.host.test_stages import Stage

Ran = list[tuple[str, str]]


def server(name: str, copied: Ran) -> Server:
    """A machine that can be given another one's snapshots, and notes which."""

    def copy(source: Any, target: Any, snapshot: str) -> None:
        copied.append((f"{source.name} to {target.name}", snapshot))

    provider = SimpleNamespace(copy=copy, saved=lambda _: ["bare"])
    machine: Any = SimpleNamespace(name=name, checkout=Path(), provider=provider)
    return Server(machine, "bare")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Ran, Ran, list[StageResult]]]:
    """Runs stages on three servers: (server, stage) in their order, what was copied, and what each took."""

    def run(stages: list[Stage], does: Callable[[str], bool]) -> tuple[Ran, Ran, list[StageResult]]:
        ran: Ran = []
        copied: Ran = []

        def stage_runs(
            stage: Stage, _: Path, __: list[str], context: dict[str, str], ___: Path
        ) -> StageResult:
            passed = does(stage.name)
            ran.append((context["LAB_MACHINE"], stage.name))
            return StageResult(stage.title, 0.0, passed)

        monkeypatch.setattr(test_run, "run", stage_runs)
        monkeypatch.setattr(snapshots, "restore", lambda *_: None)
        monkeypatch.setattr(chapters, "context", lambda machine: {"LAB_MACHINE": machine.name})
        servers = [server(name, copied) for name in ("test", "test-2", "test-3")]
        environment: Any = SimpleNamespace(python=Path())
        return ran, copied, StageRunner(environment, Path(), stages, servers).run()

    return run


QUICK = Stage("quick", "the steps", (), "bare", makes="after-09", server=3)
SLOW = Stage("slow", "the chapters", (), "bare", makes="after-09", server=1)
USES = Stage("uses", "what starts from it", (), "after-09", server=2)


def test_the_first_server_that_makes_a_state_hands_it_over(run: Callable[..., Any]) -> None:
    used = threading.Event()

    def does(name: str) -> bool:
        if name == "uses":
            used.set()
        return used.wait(30) if name == "slow" else True

    ran, copied, results = run([QUICK, SLOW, USES], does)

    assert ran == [("test-3", "quick"), ("test-2", "uses"), ("test", "slow")]
    assert copied == [("test-3 to test-2", "after-09")]
    assert [one.title for one in results] == [QUICK.title, SLOW.title, USES.title]


def test_second_server_that_makes_a_state_is_waited_for_where_the_first_fails(
    run: Callable[..., Any],
) -> None:
    failed = threading.Event()

    def does(name: str) -> bool:
        if name == "quick":
            failed.set()
        return failed.wait(30) and name != "quick"

    ran, copied, results = run([QUICK, SLOW, USES], does)

    assert ran == [("test-3", "quick"), ("test", "slow"), ("test-2", "uses")]
    assert copied == [("test to test-2", "after-09")]
    assert [one.passed for one in results] == [False, True, True]


def test_stage_is_not_run_where_its_state_was_not_made(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ran, copied, took = run([QUICK, SLOW, USES], lambda _: False)

    assert "uses" not in [name for _, name in ran] and not copied and len(took) == 2
    assert f"{USES.title}: not run, since what it starts from was not made" in capsys.readouterr().out


def test_stage_that_needs_its_own_server_s_snapshot_is_not_run_on_a_copy(
    run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    own = Stage("own", "off, and on again", (), "after-09", server=2, own=True)

    ran, copied, took = run([QUICK, own], lambda _: True)

    assert (ran, copied, len(took)) == ([("test-3", "quick")], [], 1)
    assert f"{own.title}: not run, since this server has not made" in capsys.readouterr().out
