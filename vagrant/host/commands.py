"""What the commands of lab.py do; `make lab` leads from an empty computer to a running server."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from . import (
    chapters,
    computer,
    installed,
    labcheck_config,
    lifecycle,
    programs,
    readiness,
    snapshots,
    subprocesses,
    test_fast,
    test_reports,
    test_servers,
    test_stages,
    tools,
)
from .clock import set_clock
from .environment import Environment
from .inputs import machine_inputs
from .lock import hold
from .machine import Machine
from .progress import Problem, called, gibibytes, line, seconds, step
from .providers import PROVIDERS, Provider, Unusable, choosing, named
from .providers.provider import GB, Cost, Image
from .state import Choices

CHECKOUT = Path(__file__).resolve().parents[2]

# What the parts need, in bytes, measured on Debian 12. What a kind of machine needs is in its provider.
VENV = Cost(0.2 * GB, 0.8 * GB)
SERVER_MEMORY = 2.2 * GB


@dataclass(frozen=True)
class Part:
    """A part of the lab that is not there yet, and what it takes: bytes, and where."""

    title: str
    cost: Cost
    place: Path
    memory: float = 0


class Lab:
    """A checkout, its environment and one machine of it."""

    def __init__(self, name: str) -> None:
        self.machine = Machine(CHECKOUT, name)
        self.environment = Environment(CHECKOUT)
        self.system = computer.system()
        self.log = self.machine.folder / "log"

    # ---- what is to be done ----

    def parts(self, packages: list[str], provider: Provider, image: Image, disks: bool) -> list[Part]:
        """The parts that are still missing, with what they take."""
        parts = []
        if packages:
            parts.append(Part(f"host packages ({', '.join(packages)})", provider.tools, Path("/usr")))
        if not self.environment.is_ready():
            parts.append(Part("Python packages, into .venv", VENV, CHECKOUT))
        if not image.is_there:
            whence = "built from the apt mirror" if image.built_here else "fetched"
            parts.append(Part(f"{image.name}, {whence}", provider.image, Path.home()))
        if disks:
            parts.append(Part("the server", provider.server, provider.disk(), SERVER_MEMORY))
        return parts

    def announce(self, parts: list[Part]) -> None:
        """Say what will be downloaded, and what disk and memory it takes, before anything happens."""
        for part in parts:
            memory = f", memory {gibibytes(part.memory)}" if part.memory else ""
            cost = part.cost
            line(f"  {part.title}: download {gibibytes(cost.download)}, disk {gibibytes(cost.disk)}{memory}")
        download, disk = sum(part.cost.download for part in parts), sum(part.cost.disk for part in parts)
        line(f"  in all: download up to {gibibytes(download)}, disk up to {gibibytes(disk)}")

    def preflight(self, parts: list[Part], packages: list[str], provider: Provider, *, mirror: bool) -> None:
        """Find what would stop the run, before anything is half done. Raises Problem."""
        check_disk(parts)
        check_memory(parts, self.machine)
        if self.system.family == "debian":
            if packages:
                tools.may_become_root("apt-get install --no-install-recommends " + " ".join(packages))
            if packages or mirror:
                with step("the apt mirror answers"):
                    tools.mirror_answers()
        elif packages:
            raise tools.instructions(self.system, packages, provider.by_hand(self.system))

    def prepare(self, provider: Provider, image: Image | None) -> Image:
        """This computer has what the provider needs: announced, looked for, installed, started.

        `image`: what there is of a machine that exists, else None. Returns what one is to be made from.
        """
        exists = image is not None
        packages = provider.missing(builds=False)
        if not tools.venv_works():
            packages.append(tools.venv_package())
        if not packages:
            provider.start(self.log)
        if image is None and packages and not provider.can_look():
            self.fetch(provider, packages, Image("", "the server's image"), exists=False)
            packages = []
        picked = image or provider.pick(self.system, self.machine.settings)
        if picked.built_here and not picked.is_there:
            packages += [each for each in provider.missing(builds=True) if each not in packages]
        self.fetch(provider, packages, picked, exists=exists)
        return picked

    def fetch(self, provider: Provider, packages: list[str], picked: Image, *, exists: bool) -> None:
        """Announce what is missing, find what would stop the run, install the packages, start the daemons."""
        parts = self.parts(packages, provider, picked, disks=not exists)
        if parts:
            self.announce(parts)
            for text in provider.consequences(packages):
                line(f"  note: {text}")
        running = exists and self.machine.answers()
        if not running and not any(part.memory for part in parts):
            check_memory([Part("the server", Cost(0, 0), CHECKOUT, SERVER_MEMORY)], self.machine)
        self.preflight(parts, packages, provider, mirror=picked.built_here and not picked.is_there)
        if packages:
            tools.install(packages, self.log / "packages.log")
            provider.start(self.log)

    def settle_on(self, found: choosing.Options, first: Image) -> Choices:
        """The first of the options that really runs something; what is wrong with those before is said."""
        for number, option in enumerate(found.those):
            try:
                image = first if number == 0 else self.prepare(option.provider, None)
                choices = option.provider.get(CHECKOUT, image, option.driver, self.log / "image.log")
                option.provider.probe(choices, self.log / "probe.log")
                return choices
            except Unusable as problem:
                if number + 1 == len(found.those):
                    raise
                line(f"  --  {problem.sentence}")
                line(f"  The lab will use {found.those[number + 1].title} instead.")
        raise AssertionError("there is at least one option")

    def up(
        self,
        port: int | None,
        beside: Callable[[threading.Event], None] = lambda _: None,
        like: Choices | None = None,
    ) -> None:
        """From whatever is there to a running, provisioned server. Raises Problem.

        `beside` is done at the same time, as soon as the Python packages are there. `like`: what was chosen
        for another machine, which this one is to be like.
        """
        machine = self.machine
        with step("looking at what is there") as current:
            complete = self.environment.is_ready() and lifecycle.is_ready(machine)
            off = set_clock(machine) if complete else 0.0
            current.result = "everything, and the server answers" if complete else "not everything yet"
            if abs(off) > 1:
                current.result += f"; its clock was {off:.0f} s off, set"
        if port is not None:
            check_port(port)
        if complete:
            labcheck_config.write(machine)
            subprocesses.side_by_side(beside)
            return
        there = machine.state.choices() if machine.identity() else like
        if there is None:
            found = choosing.options(self.system, machine.provider.name if machine.identity() else "")
            for text in choosing.sentence(found.those[0], found, called("lab")):
                line(text)
            first = self.prepare(found.those[0].provider, None)
        else:
            self.prepare(named(there.provider), Image(there.distro, there.box, is_there=True))

        def packages_first(stopped: threading.Event) -> None:
            if not self.environment.is_ready():
                self.environment.make(self.log / "venv.log")
            if not stopped.is_set():
                beside(stopped)

        def server(_: threading.Event) -> None:
            machine.state.choose(self.settle_on(found, first) if there is None else there)
            lifecycle.up(machine)
            readiness.after_start(machine)
            if not machine.state.recall("bare"):
                snapshots.save(machine, snapshots.BARE)
                machine.state.remember("bare", machine_inputs(CHECKOUT))

        subprocesses.side_by_side(packages_first, server)


def check_disk(parts: list[Part]) -> None:
    """Raises Problem where the parts do not fit; parts on one disk are added up."""
    while parts:
        place = parts[0].place
        together = [part for part in parts if computer.same_disk(part.place, place)]
        wanted, free = sum(part.cost.disk for part in together), computer.free_disk(place)
        if free < wanted:
            raise Problem(
                f"too little room at {place}: {gibibytes(wanted)} are needed, {gibibytes(free)} are free",
                "free some space, then run the same command again",
            )
        parts = [part for part in parts if part not in together]


def check_memory(parts: list[Part], machine: Machine) -> None:
    """Raises Problem where the server would not find its memory, naming the learner's if that holds it."""
    wanted, free = sum(part.memory for part in parts), computer.free_memory()
    if free is None or free >= wanted:
        return
    learner = Machine(CHECKOUT, "lab")
    held = machine.name != "lab" and learner.answers()
    raise Problem(
        f"too little memory: {gibibytes(wanted)} are needed, {gibibytes(free)} are free"
        + (", and your own server of the lab is running" if held else ""),
        "switch it off: make stop" if held else "close other programs, then run the same command again",
    )


def check_port(port: int) -> None:
    if not computer.port_is_free(port):
        raise Problem(
            f"port {port} on 127.0.0.1 is in use by another program (perhaps a JupyterLab that still runs)",
            f"end it, or take another port: make lab PORT={port + 1}",
        )


ANNOUNCEMENTS = "@jupyterlab/apputils-extension:announcements"


def jupyter(lab: Lab, port: int) -> int:
    """JupyterLab in the foreground, on 127.0.0.1 alone, until Ctrl-C."""
    token = secrets.token_hex(24)
    start = "notebooks/00_start_here.ipynb"
    command = [str(lab.environment.python), "-m", "jupyterlab", "-y",
               "--ServerApp.ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={CHECKOUT}", "--log-level=WARN",
               "--LabApp.extension_manager=readonly",
               f"--LabApp.default_url=/lab/tree/{start}"]  # fmt: skip
    if tools.is_root():
        command.append("--allow-root")
    # Nothing is asked of the internet, and no question stands before the first chapter.
    quiet = lab.machine.folder / "jupyter" / "labconfig" / "page_config.json"
    quiet.parent.mkdir(parents=True, exist_ok=True)
    quiet.write_text(json.dumps({"disabledExtensions": {ANNOUNCEMENTS: True}}) + "\n", encoding="utf-8")
    line()
    line(f"JupyterLab: http://127.0.0.1:{port}/lab/tree/{start}?token={token}")
    line("Ctrl-C ends JupyterLab; the server goes on, and make stop switches it off.")
    own = os.pathsep.join([str(quiet.parents[1]), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])])
    env = {"JUPYTER_TOKEN": token, "JUPYTER_CONFIG_PATH": own, **chapters.context(lab.machine)}
    return subprocesses.foreground(command, env=env, cwd=CHECKOUT)


def jupyter_port() -> int | None:
    """The port for JupyterLab, or None where it is not to be started."""
    if os.environ.get("OPEN", "yes").lower() in ("no", "0", "false"):
        return None
    text = os.environ.get("PORT", "8888")
    if not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise Problem(f"PORT={text} is no port", "give a number from 1024 to 65535: make lab PORT=8889")
    return int(text)


# ---- the commands ----


def lab_command(lab: Lab, *, with_jupyter: bool = True) -> int:
    port = jupyter_port() if with_jupyter else None
    started = time.monotonic()
    with hold(lab.machine.lock, called("lab")):
        lab.up(port)
    took = seconds(time.monotonic() - started)
    line(f"The server is ready ({took}). make check looks at it, make ssh logs in.")
    return jupyter(lab, port) if port is not None else 0


def ssh_command(lab: Lab, host: str, command: Sequence[str]) -> int:
    lab.machine.needed()
    return subprocesses.foreground(["ssh", "-F", str(lab.machine.ssh_config), host, *command])


def check_command(lab: Lab, arguments: Sequence[str]) -> int:
    """`arguments` are labcheck's."""
    if not lab.machine.labcheck.exists() or not lab.environment.python.exists():
        raise Problem("there is no server yet", "make it first: make lab")
    program = [str(lab.environment.program("labcheck")), *arguments]
    return subprocesses.foreground(program, env=chapters.context(lab.machine), cwd=CHECKOUT)


def course_command(lab: Lab, numbers: Sequence[str], *, save: bool, limit: float | None) -> int:
    """`limit`: seconds for one cell; None leaves it to labkit.course."""
    options = [*(["--save"] if save else []), *([f"--timeout={limit}"] if limit is not None else [])]
    with hold(lab.machine.lock, called("course")):
        lab.machine.needed()
        return chapters.run(lab.machine, lab.environment, [*options, *numbers])


def snapshot_command(lab: Lab, chapter: str) -> int:
    name = snapshots.name_after(chapter)
    with hold(lab.machine.lock, called("snapshot")):
        lab.machine.needed()
        if snapshots.is_past(lab.machine, name):
            line(f"  --  the snapshot {name} stays as it was: the server is further on")
        else:
            snapshots.save(lab.machine, name)
    return 0


def restore_command(lab: Lab, name: str) -> int:
    with hold(lab.machine.lock, called("restore")):
        if not lab.machine.ssh_config.exists():
            raise Problem("there is no server yet", "make it first: make lab")
        snapshots.restore(lab.machine, name)
    return 0


def goto_command(lab: Lab, chapter: str) -> int:
    with hold(lab.machine.lock, called("goto")):
        chapters.goto(lab.machine, lab.environment, chapter)
    return 0


def stop_command(lab: Lab) -> int:
    with hold(lab.machine.lock, called("stop")):
        if not lab.machine.identity():
            line("  --  there is no server")
            return 0
        lifecycle.switch_off(lab.machine, "switching the server off")
    return 0


def destroy_command(lab: Lab, *, yes: bool) -> int:
    if not yes:
        if not sys.stdin.isatty():
            raise Problem("destroy asks first, and there is no one to ask", "lab.py destroy --yes")
        if input(f"Remove the machine {lab.machine.name} with its snapshots? [y/N] ").strip().lower() not in (
            "y",
            "yes",
        ):
            return 1
    with hold(lab.machine.lock, called("destroy")):
        lifecycle.destroy(lab.machine)
    return 0


def uninstall_command(lab: Lab, *, yes: bool) -> int:
    """All that is on this computer because of the lab, after a yes."""
    with ExitStack() as locks:
        for machine in installed.machines(CHECKOUT):
            locks.enter_context(hold(machine.lock, called("uninstall")))
        found = installed.pieces(
            CHECKOUT, lifecycle.destroy, Path(tempfile.gettempdir()) / "shipshape-uninstall.log"
        )
        if not found:
            line("  --  nothing of the lab is on this computer")
            return 0
        line("On this computer because of the lab:")
        for piece in found:
            line(f"  {piece.title}")
        if others := installed.machines_of_others(CHECKOUT):
            line(f"  --  packages, images and boxes stay, for the others' machines: {', '.join(others)}")
        if not yes:
            if not sys.stdin.isatty():
                raise Problem("uninstall asks first, and there is no one to ask", "lab.py uninstall --yes")
            if input("Remove all of it? [y/N] ").strip().lower() not in ("y", "yes"):
                return 1
        if any(piece.takes_root for piece in found):
            tools.may_become_root("python3 vagrant/lab.py uninstall")
        installed.uninstall(found)
    return 0


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
    checks = test_fast.fast(CHECKOUT, lab.environment, lab.log / "test-fast.log", environ=environ)
    status = test_fast.show(checks)
    said = test_reports.concluded(status == 0, sum((one.skipped() for one in checks), Counter()))
    line(f"test-fast: {said} ({seconds(time.monotonic() - started)})")
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
            took = [one for distro in distros for one in on_another_distro(lab, distro)]
        return conclude(lab, took, [], started)
    machine = lab.machine
    if machine.name == "lab":
        raise Problem(
            "the tests do not run on the learner's machine", "type: make test (it uses the machine `test`)"
        )
    labs = [lab, *others(lab)]
    with ExitStack() as at_the_end:
        for each in labs:
            at_the_end.enter_context(hold(each.machine.lock, called("test")))
        with ExitStack() as switched_off:
            for each in labs:
                switched_off.callback(free_memory_of, each.machine)
            lifecycle.destroy_if_outdated(machine)
            for other in labs[1:]:  # their disks are copies of the first one's, with its keys
                if other.machine.identity():
                    lifecycle.destroy(other.machine)
            fresh = not machine.identity()
            checks: list[test_fast.Checked] = []

            def without_a_machine(stopped: threading.Event) -> None:
                log = lab.log / "test-fast.log"
                checks.extend(test_fast.fast(CHECKOUT, lab.environment, log, stopped, environ))

            environ = (
                {} if names else programs.for_the_tests(lab.system, lab.log / "packages.log", installs=True)
            )
            lab.up(None)
            provider, choices = machine.provider, machine.state.choices()
            assert choices is not None
            known = test_stages.stages(CHECKOUT, every, provider.tests)
            stages = test_stages.chosen(
                known, names, provider.saved(machine) if names else [], choices.emulated
            )
            servers = [test_servers.Server(machine, snapshots.BARE if fresh else ""), *beside(lab, stages)]
            machine_took = time.monotonic() - started

            def on_the_servers(_: threading.Event) -> list[test_reports.Took]:
                return test_servers.StageRunner(lab.environment, lab.log, stages, servers, environ).run()

            def fast_tests(stopped: threading.Event) -> list[test_reports.Took]:
                if names:
                    return []
                began = time.monotonic()
                without_a_machine(stopped)
                status = test_fast.show(checks)
                failed = tuple(text for one in checks for text in one.failures())
                skipped = sum((one.skipped() for one in checks), Counter())
                title = "beside that, what needs no machine"
                return [test_reports.Took(title, time.monotonic() - began, status == 0, failed, skipped)]

            lanes = subprocesses.side_by_side(fast_tests, on_the_servers)
            took = [test_reports.Took("the bare machine", machine_took, True), *lanes[0], *lanes[1]]
        for distro in distros:
            took += on_another_distro(lab, distro)
    left_out = [stage for stage in known if not names and stage not in stages]
    return conclude(lab, took, left_out, started)


def conclude(
    lab: Lab, took: list[test_reports.Took], left_out: list[test_stages.Stage], started: float
) -> int:
    """The table at the end: how long each took, what failed, and what was not tested. The exit status."""
    line()
    for text in (text for part in took for text in part.lines()):
        line(text)
    passed = all(part.passed for part in took)
    for stage in left_out:
        because = "another part shows the same" if stage.spare else "the processor is emulated"
        line(f"  --  left out, since {because}: {stage.title} (make test PART={stage.name})")
    said = test_reports.concluded(passed, sum((part.skipped for part in took), Counter()))
    total = seconds(time.monotonic() - started)
    line(f"test: {said} ({total}); logs and JUnit reports: {lab.log}")
    return 0 if passed else 1


def on_another_distro(lab: Lab, distro: str) -> list[test_reports.Took]:
    """The whole course on a server of this distribution, and its fifteen items in both depths."""
    started = time.monotonic()
    other = Lab(f"{lab.machine.name}-{distro}")
    wanted = [
        stage for stage in test_stages.stages(CHECKOUT, every=False) if stage.part in ("chapters", "finished")
    ]
    was = os.environ.get("LAB_DISTRO")
    os.environ["LAB_DISTRO"] = distro
    try:
        lifecycle.destroy_if_outdated(other.machine)
        for each in others(other):
            if each.machine.identity():
                lifecycle.destroy(each.machine)
        other.up(None)
        took = [test_reports.Took("the bare machine", time.monotonic() - started, True)]
        servers = [test_servers.Server(other.machine), *beside(other, wanted)]
        took += test_servers.StageRunner(lab.environment, other.log, wanted, servers).run()
    finally:
        if was is None:
            del os.environ["LAB_DISTRO"]
        else:
            os.environ["LAB_DISTRO"] = was
        for each in (other, *others(other)):
            free_memory_of(each.machine)
    return [replace(one, title=f"{distro}: {one.title}") for one in took]


def others(lab: Lab) -> list[Lab]:
    """The labs of the servers that work beside this one's in the tests."""
    return [Lab(f"{lab.machine.name}-{number}") for number in (2, 3)]


def beside(lab: Lab, stages: Sequence[test_stages.Stage]) -> list[test_servers.Server]:
    """The servers beside the first one, to be made: as many as the stages use and there is room for."""
    choices = lab.machine.state.choices()
    provider = lab.machine.provider
    if choices is None or not provider.copies or (os.cpu_count() or 1) == 1:
        return []
    making = threading.Lock()

    def make(other: Lab) -> None:
        with making:
            other.up(None, like=choices)

    used = max(stage.server for stage in stages) - 1
    return [
        test_servers.Server(other.machine, make=partial(make, other))
        for other in others(lab)[: min(used, room_for_servers(provider))]
    ]


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
