"""What the virtual machines have in common: boxes from Vagrant's catalogue, and Vagrant's own snapshots."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .. import failures
from ..computer import System
from ..progress import Problem, line, step
from ..state import Choices
from .provider import GB, SNAPSHOT, Cost, Image, Machine, Provider, box_of, distro_wanted

CATALOGUE = "https://vagrantcloud.com/api/v2/box"
CATALOGUE_LIMIT = 5.0  # seconds; a catalogue that is slower is no catalogue to download 600 MB from


def catalogue_answers(box: str) -> bool:
    """Whether Vagrant's catalogue can be asked for this box from here."""
    try:
        with urllib.request.urlopen(f"{CATALOGUE}/{box}", timeout=CATALOGUE_LIMIT) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def is_added(box: str, provider: str, version: str = "*") -> bool:
    """Whether Vagrant has this box already (its folder is looked at: asking Vagrant takes seconds)."""
    home = Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d"))
    return any((home / "boxes" / box.replace("/", "-VAGRANTSLASH-")).glob(f"{version}/**/{provider}"))


def parse_snapshots(text: str) -> list[str]:
    """The names in what `vagrant snapshot list` prints; other lines of Vagrant are no names."""
    return [row.strip() for row in text.splitlines() if SNAPSHOT.fullmatch(row.strip())]


class VirtualMachine(Provider):
    """A machine with a kernel of its own, from a box."""

    programs: Mapping[str, str] = {"vagrant": "vagrant", "openssh-client": "ssh"}
    tools = Cost(0.15 * GB, 0.7 * GB)
    image = Cost(0.7 * GB, 2.5 * GB)

    def pick(self, system: System, settings: Mapping[str, str]) -> Image:
        wanted = distro_wanted(settings)
        distro = wanted or "ubuntu2204"
        box = box_of(settings, distro, self.name)
        if is_added(box, self.name) or catalogue_answers(box):
            return Image(distro, box, is_there=is_added(box, self.name))
        raise Problem(
            f"Vagrant's box catalogue does not answer, and {distro} comes from there",
            "check the network or the proxy (HTTPS_PROXY), then run the same command again",
        )

    def get(self, checkout: Path, image: Image, driver: str, log: Path) -> Choices:
        line(f"  --  box {image.name} from Vagrant's catalogue")
        return Choices(provider=self.name, driver=driver, distro=image.distro, box=image.name)

    def save(self, machine: Machine, name: str) -> None:
        machine.change(f"saving the snapshot {name}", "snapshot", "save", "--force", name)

    def restore(self, machine: Machine, name: str) -> None:
        machine.change(
            f"restoring the snapshot {name}", "snapshot", "restore", "--no-start", "--no-provision", name
        )

    def saved(self, machine: Machine) -> list[str]:
        with step("asking for the snapshots") as current:
            ended = machine.vagrant("snapshot", "list", step=current)
            if ended.status != 0:
                raise failures.failure("vagrant snapshot list", ended, machine.log)
            names = parse_snapshots(ended.text)
            current.result = ", ".join(names) or "none"
        return names
