"""From whatever is there to a running, provisioned server: what `make lab` and `make test` begin with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from . import computer, labcheck_config, lifecycle, readiness, snapshots, subprocesses, tools
from .clock import set_clock
from .environment import Environment
from .inputs import machine_inputs
from .machine import Machine
from .preflight import SERVER_MEMORY, Part, announce, check_disk, check_memory, check_port
from .progress import called, line, step
from .providers import Provider, Unusable, choosing, named
from .providers.provider import GB, Cost, Image
from .settings import CHECKOUT
from .state import Choices

# What the parts need, in bytes, measured on Debian 12. What a kind of machine needs is in its provider.
VENV = Cost(0.2 * GB, 0.8 * GB)


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
            announce(parts)
            for text in provider.consequences(packages):
                line(f"  note: {text}")
        running = exists and self.machine.answers()
        if not running and not any(part.memory for part in parts):
            check_memory([Part("the server", Cost(0, 0), CHECKOUT, SERVER_MEMORY)], self.machine)
        self.preflight(parts, packages, provider, mirror=picked.built_here and not picked.is_there)
        if packages:
            tools.install(packages, self.log / "packages.log")
            provider.start(self.log)

    def settle_on(self, options: choosing.Options, first: Image) -> Choices:
        """The first of the options that really runs something; what is wrong with those before is said."""
        for number, option in enumerate(options.those):
            try:
                image = first if number == 0 else self.prepare(option.provider, None)
                choices = option.provider.get(CHECKOUT, image, option.driver, self.log / "image.log")
                option.provider.probe(choices, self.log / "probe.log")
                return choices
            except Unusable as problem:
                if number + 1 == len(options.those):
                    raise
                line(f"  --  {problem.sentence}")
                line(f"  The lab will use {options.those[number + 1].title} instead.")
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
        chosen = machine.state.choices() if machine.identity() else like
        if chosen is None:
            options = choosing.options(self.system, machine.provider.name if machine.identity() else "")
            for text in choosing.sentence(options.those[0], options, called("lab")):
                line(text)
            first = self.prepare(options.those[0].provider, None)
        else:
            self.prepare(named(chosen.provider), Image(chosen.distro, chosen.box, is_there=True))

        def packages_first(stopped: threading.Event) -> None:
            if not self.environment.is_ready():
                self.environment.make(self.log / "venv.log")
            if not stopped.is_set():
                beside(stopped)

        def server(_: threading.Event) -> None:
            machine.state.choose(self.settle_on(options, first) if chosen is None else chosen)
            lifecycle.up(machine)
            readiness.after_start(machine)
            if not machine.state.recall("bare"):
                snapshots.save(machine, snapshots.BARE)
                machine.state.remember("bare", machine_inputs(CHECKOUT))

        subprocesses.side_by_side(packages_first, server)
