"""What a kind of machine is to the lab: all that differs between libvirt, Docker, VirtualBox and VMware.

A fifth one is a file beside this with a subclass of `Provider`, its name in `providers/__init__.py`, its row
in the Vagrantfile, and its boxes in vagrant/lab.env. Nothing else asks which provider there is.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .. import subprocesses
from ..computer import System
from ..progress import Problem, Step
from ..state import Choices, State
from ..tools import which


class Machine(Protocol):
    """What a provider has to know of a machine: class Machine is one, and is made with a provider."""

    name: str
    state: State
    log: Path
    ssh_config: Path
    known_hosts: Path

    def identity(self) -> str: ...

    def full_name(self) -> str: ...

    def vagrant(self, *arguments: str, step: Step | None = None) -> subprocesses.Ended: ...

    def change(self, title: str, *arguments: str) -> None: ...


class Unusable(Problem):
    """This kind of machine does not work on this computer: another one is to be tried, if there is one."""


@dataclass(frozen=True)
class Image:
    """What a machine is made from: a box or an image. `built_here`: by this computer, of Debian packages."""

    distro: str
    name: str
    built_here: bool = False
    is_there: bool = False


@dataclass(frozen=True)
class Cost:
    """Bytes that something takes: to download, and of disk."""

    download: float
    disk: float


GB = 1_000_000_000
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SNAPSHOT = re.compile(r"bare|after-\d\d")  # the names that the lab gives


class Provider(ABC):
    """One kind of machine. Methods raise Problem with the next step, Unusable where it cannot run here."""

    name: str
    """As Vagrant and LAB_PROVIDER call it."""
    programs: Mapping[str, str]
    """Debian's package -> the program that shows that it is there already, from whatever source."""
    builders: Mapping[str, str] = {}
    """The same, only where the image is built here."""
    tools: Cost
    """The packages, if all of them are missing."""
    image: Cost
    server: Cost = Cost(0.3 * GB, 5 * GB)
    """The finished server, with its snapshots."""

    copies = False
    """Whether a snapshot of one machine can become one of another, in seconds."""
    tests: tuple[str, ...] = ()
    """The tests of what is special to this kind, for `make test`."""

    # ---- whether ----

    @abstractmethod
    def title(self, driver: str) -> str:
        """What it is, for a person: `a virtual machine (libvirt, KVM)`."""

    @abstractmethod
    def fits(self, system: System) -> bool:
        """Whether it is for such a computer at all."""

    def obstacle(self, system: System, driver: str) -> str:
        """Why it cannot run here, as far as a quick look tells; empty if it may."""
        return ""

    def order(self, driver: str) -> int:
        """What is tried first: 0 hardware virtualisation, 1 a container, 2 emulation."""
        return 0

    def drivers(self, system: System) -> tuple[str, ...]:
        """The ways in which it can run a machine, the fastest first."""
        return ("",)

    def probe(self, choices: Choices, log: Path) -> None:
        """Run something real on it, before a machine is made. Raises Unusable."""
        return

    # ---- what it needs of this computer ----

    def missing(self, *, builds: bool) -> list[str]:
        """The Debian packages that are still to be installed, in their order."""
        wanted = {**self.programs, **(self.builders if builds else {})}
        packages = [package for package, program in wanted.items() if which(program) is None]
        if builds and not DEBIAN_KEYS.exists():
            packages.append("debian-archive-keyring")
        return packages

    @abstractmethod
    def by_hand(self, system: System) -> tuple[str, ...]:
        """What to type where the lab installs nothing, one command a line."""

    def consequences(self, packages: list[str]) -> tuple[str, ...]:
        """What installing these packages does to this computer besides, a sentence a line."""
        return ()

    def start(self, log: Path) -> None:
        """See that its daemons run, and that the person may talk to them."""
        return

    def command(self, command: list[str]) -> list[str]:
        """The command, run as a member of a group that this login has not got yet, if one is needed."""
        return command

    def disk(self) -> Path:
        """Where its disks lie."""
        return Path.home()

    # ---- what a machine is made from ----

    def can_look(self) -> bool:
        """Whether `pick` can tell already what is to be had: some need their own programs for that."""
        return True

    @abstractmethod
    def pick(self, system: System, settings: Mapping[str, str]) -> Image:
        """The image for the distribution that is wanted (LAB_DISTRO), or the best to be had."""

    @abstractmethod
    def get(self, checkout: Path, image: Image, driver: str, log: Path) -> Choices:
        """Have the image here, built where it has to be."""

    # ---- the life of a machine ----

    @abstractmethod
    def save(self, machine: Machine, name: str) -> None:
        """Keep the server as it is now, over an older snapshot of that name."""

    @abstractmethod
    def restore(self, machine: Machine, name: str) -> None:
        """Bring a snapshot back; the server may still be booting afterwards. Raises Problem."""

    @abstractmethod
    def saved(self, machine: Machine) -> list[str]:
        """The names of the snapshots."""

    def copy(self, source: Machine, target: Machine, name: str) -> None:
        """Give another machine a snapshot of this one: where `copies` says that it can."""
        raise Problem(f"{self.title('')} cannot copy a snapshot", "take it on the same machine")

    def step_back(self, machine: Machine) -> None:
        """Let the other machines of its kind have the processors first, where that can be said."""
        return

    def host_keys(self, machine: Machine) -> str:
        """Its SSH server's public keys, read from its console; empty where there is none to read from."""
        return ""

    def remove_leftovers(self, machine: Machine, ended: subprocesses.Ended) -> bool:
        """Remove what an interrupted creation left, unknown to Vagrant. False: there was none."""
        return False

    def is_passing(self, ended: subprocesses.Ended) -> bool:
        """Whether what stopped `vagrant up` passes by itself: it is worth a second try."""
        return False

    def removed(self, machine: Machine) -> None:
        """After Vagrant has removed the machine: whatever else was only its own."""
        return


def distros(settings: Mapping[str, str]) -> list[str]:
    """The distributions that have a box in lab.env: its rows are LAB_BOX_<DISTRO>_<PROVIDER>."""
    rows = (re.match(r"LAB_BOX_([A-Z0-9]+)_", name) for name in settings)
    return list(dict.fromkeys(row[1].lower() for row in rows if row))


def distro_wanted(settings: Mapping[str, str]) -> str:
    """LAB_DISTRO, checked; empty where the person left it open."""
    distro = os.environ.get("LAB_DISTRO", "")
    if distro and distro not in distros(settings):
        raise Problem(f"LAB_DISTRO={distro} is not known", f"choose one of: {', '.join(distros(settings))}")
    return distro


def built_version(script: Path, distro: str) -> str:
    """`NAME VERSION` of what vagrant/box/build.sh or vagrant/container/build.sh would make now."""
    answer = subprocesses.quick(["bash", str(script), "--version", distro.removeprefix("debian")])
    return answer.stdout.strip()


def box_of(settings: Mapping[str, str], distro: str, provider: str) -> str:
    """The box or image that lab.env names for this distribution."""
    return settings[f"LAB_BOX_{distro.upper()}_{provider.upper()}"]
