"""What `make test`, `make test-fast` and `lab.py programs` do."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from . import (
    computer,
    lifecycle,
    programs,
    snapshots,
    subprocesses,
    test_fast,
    test_stages,
    tools,
)
from .bring_up import Lab
from .lock import hold
from .machine import Machine
from .preflight import SERVER_MEMORY
from .progress import Problem, called, line, seconds
from .providers import PROVIDERS, Provider
from .settings import CHECKOUT
from .test_reports import StageResult, concluded
from .test_servers import Server, StageRunner
from .test_stages import Stage


def fast_command(lab: Lab) -> int:
    started = time.monotonic()
    packages = [] if tools.venv_works() or lab.environment.is_ready() else [tools.venv_package()]
    if packages and self_installs(lab):
        tools.install(packages, lab.log / "packages.log")
    if not lab.environment.is_ready():
        lab.environment.make(lab.log / "venv.log")
    # It is run often, on a person's own computer: what takes a password, `make test` alone installs.
    installs = tools.is_root() or programs.in_ci()
    environ = programs.for_the_tests(lab.system, lab.log / "packages.log", installs=installs)
    checks = test_fast.run(CHECKOUT, lab.environment, lab.log / "test-fast.log", environ=environ)
    status = test_fast.show(checks)
    result = concluded(status == 0, sum((one.skipped() for one in checks), Counter()))
    line(f"test-fast: {result} ({seconds(time.monotonic() - started)})")
    return status


def self_installs(lab: Lab) -> bool:
    if lab.system.family != "debian":
        raise Problem(
            "this Python cannot make virtual environments", "install its modules venv and ensurepip"
        )
    tools.may_become_root("apt-get install --no-install-recommends " + tools.venv_package())
    return True


OTHER_DISTROS = ("debian13",)
"""Beside the one that `make test` chooses: the whole course, strict, and what it leaves."""


def part(text: str) -> str:
    """What `make test` calls a part of itself, checked. Raises Problem."""
    kinds = [path for provider in PROVIDERS for path in provider.tests]
    stages = test_stages.stages(CHECKOUT, every=True, kind=kinds)
    known = [*dict.fromkeys(stage.part for stage in stages), *OTHER_DISTROS]
    if text not in known:
        raise Problem(f"there is no part {text}", f"the parts are: {', '.join(known)}")
    return text


def test_command(lab: Lab, parts: Sequence[str], *, every: bool) -> int:
    """Everything, or these parts, on machines of its own that are switched off at the end."""
    started = time.monotonic()
    names = [each for each in parts if each not in OTHER_DISTROS]
    distros = [each for each in OTHER_DISTROS if each in parts or (every and not names)]
    if distros and parts and not names:  # these alone
        with hold(lab.machine.lock, called("test")):
            results = [one for distro in distros for one in on_another_distro(lab, distro)]
        return conclude(lab, results, [], started)
    machine = lab.machine
    if machine.name == "lab":
        raise Problem(
            "the tests do not run on the learner's machine", "type: make test (it uses the machine `test`)"
        )
    labs = [lab, *others(lab)]
    with ExitStack() as locks:
        for each in labs:
            locks.enter_context(hold(each.machine.lock, called("test")))
        results, left_out = on_own_machines(labs, names, every=every)
        for distro in distros:
            results += on_another_distro(lab, distro)
    return conclude(lab, results, [] if names else left_out, started)


def on_own_machines(
    labs: Sequence[Lab], names: Sequence[str], *, every: bool
) -> tuple[list[StageResult], list[Stage]]:
    """The stages of these names, or all, beside what needs no machine; and those that were left out.

    The first lab's machine is brought up, the others' where there is room; all are switched off at the end.
    """
    started = time.monotonic()
    lab, machine = labs[0], labs[0].machine
    with only_the_first(labs):
        fresh = not machine.identity()
        environ = {} if names else programs.for_the_tests(lab.system, lab.log / "packages.log", installs=True)
        lab.up(None)
        provider, choices = machine.provider, machine.state.choices()
        assert choices is not None
        by_steps = not every and places(lab) > 1
        known = test_stages.stages(CHECKOUT, every, provider.tests, by_steps)
        saved = provider.saved(machine) if names else []
        stages = test_stages.chosen(known, names, saved, choices.emulated)
        servers = [Server(machine, snapshots.BARE if fresh else ""), *beside(lab, stages)]
        bare = StageResult("the bare machine", time.monotonic() - started, True)

        def on_the_servers(_: threading.Event) -> list[StageResult]:
            return StageRunner(lab.environment, lab.log, stages, servers, environ).run()

        def without_a_machine(stopped: threading.Event) -> list[StageResult]:
            return [] if names else [fast_tests(lab, stopped, environ)]

        lanes = subprocesses.side_by_side(without_a_machine, on_the_servers)
    return [bare, *lanes[0], *lanes[1]], [stage for stage in known if stage not in stages]


def fast_tests(lab: Lab, stopped: threading.Event, environ: Mapping[str, str]) -> StageResult:
    """What needs no machine, shown when all of it has ended."""
    began = time.monotonic()
    checks = test_fast.run(CHECKOUT, lab.environment, lab.log / "test-fast.log", stopped, environ)
    status = test_fast.show(checks)
    failed = tuple(text for one in checks for text in one.failures())
    skipped = sum((one.skipped() for one in checks), Counter())
    return StageResult(
        "beside that, what needs no machine", time.monotonic() - began, status == 0, failed, skipped
    )


def conclude(lab: Lab, results: list[StageResult], left_out: list[Stage], started: float) -> int:
    """The table at the end: how long each took, what failed, and what was not tested. The exit status."""
    line()
    for text in (text for part in results for text in part.lines()):
        line(text)
    passed = all(part.passed for part in results)
    for stage in left_out:
        because = "another part shows the same" if stage.spare else "the processor is emulated"
        line(f"  --  left out, since {because}: {stage.title} (make test PART={stage.name})")
    result = concluded(passed, sum((part.skipped for part in results), Counter()))
    total = seconds(time.monotonic() - started)
    line(f"test: {result} ({total}); logs and JUnit reports: {lab.log}")
    return 0 if passed else 1


def on_another_distro(lab: Lab, distro: str) -> list[StageResult]:
    """The whole course on a server of this distribution, and its fifteen items in both depths."""
    started = time.monotonic()
    lab_of_distro = Lab(f"{lab.machine.name}-{distro}")
    stages = [
        stage for stage in test_stages.stages(CHECKOUT, every=False) if stage.part in ("chapters", "finished")
    ]
    was = os.environ.get("LAB_DISTRO")
    os.environ["LAB_DISTRO"] = distro
    try:
        with only_the_first([lab_of_distro, *others(lab_of_distro)]):
            lab_of_distro.up(None)
            results = [StageResult("the bare machine", time.monotonic() - started, True)]
            servers = [Server(lab_of_distro.machine), *beside(lab_of_distro, stages)]
            results += StageRunner(lab.environment, lab_of_distro.log, stages, servers).run()
    finally:
        if was is None:
            del os.environ["LAB_DISTRO"]
        else:
            os.environ["LAB_DISTRO"] = was
    return [replace(one, title=f"{distro}: {one.title}") for one in results]


@contextmanager
def only_the_first(labs: Sequence[Lab]) -> Iterator[None]:
    """Of these machines the first alone is there, if it is up to date; all are switched off at the end.

    The others' disks are copies of the first one's, with its keys.
    """
    with ExitStack() as switched_off:
        for each in labs:
            switched_off.callback(free_memory_of, each.machine)
        lifecycle.destroy_if_outdated(labs[0].machine)
        for other in labs[1:]:
            if other.machine.identity():
                lifecycle.destroy(other.machine)
        yield


def others(lab: Lab) -> list[Lab]:
    """The labs of the servers that work beside this one's in the tests."""
    return [Lab(f"{lab.machine.name}-{number}") for number in (2, 3, 4)]


def beside(lab: Lab, stages: Sequence[Stage]) -> list[Server]:
    """The servers beside the first one, to be made: as many as the stages use and there is room for."""
    choices = lab.machine.state.choices()
    assert choices is not None
    making = threading.Lock()

    def make(other: Lab) -> None:
        with making:
            other.up(None, like=choices)
            other.machine.provider.step_back(other.machine)  # what takes longest runs on the first

    used = max(stage.server for stage in stages)
    return [
        Server(other.machine, make=partial(make, other))
        for other in others(lab)[: min(used, places(lab)) - 1]
    ]


def places(lab: Lab) -> int:
    """How many servers can work side by side on this computer, the lab's own included, which runs already."""
    provider = lab.machine.provider
    alone = not provider.copies or (os.cpu_count() or 1) == 1
    return 1 if alone else 1 + min(len(others(lab)), room_for_servers(provider))


def room_for_servers(provider: Provider) -> int:
    """How many more servers this computer has memory and disk for, beside what runs on it."""
    by_disk = computer.free_disk(provider.disk()) / provider.server.disk
    memory = computer.free_memory()
    return int(min(by_disk, by_disk if memory is None else memory / SERVER_MEMORY))


def free_memory_of(machine: Machine) -> None:
    """Switch a machine of the tests off."""
    title = f"switching the machine {machine.name} off, to free its memory"
    lifecycle.switch_off(machine, title, "--force")


def programs_command(lab: Lab) -> int:
    """What the tests use, and nothing else of the lab."""
    absent = programs.missing()
    if absent and lab.system.family != "debian":
        names = ", ".join(program.name for program in absent)
        raise Problem(f"on {lab.system.release} these programs have to be installed by hand: {names}")
    if absent:
        programs.announce(absent, installs=True)
        programs.install(absent, lab.log / "packages.log")
    line("  ok  the programs that the tests use are there")
    return 0
