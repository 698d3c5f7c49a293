"""The machine's box: Ubuntu from Vagrant's catalogue where it answers, else Debian built here."""

from __future__ import annotations

import os
import platform
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from . import children, tools
from .computer import System, Virtualisation
from .machine import Choices
from .say import Problem, line, step

CATALOGUE = "https://vagrantcloud.com/api/v2/box"
CATALOGUE_LIMIT = 5.0  # seconds; a catalogue that is slower is no catalogue to download 600 MB from


def catalogue_answers(box: str) -> bool:
    """Whether Vagrant's catalogue can be asked for this box from here."""
    try:
        with urllib.request.urlopen(f"{CATALOGUE}/{box}", timeout=CATALOGUE_LIMIT) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def is_added(box: str, provider: str) -> bool:
    """Whether Vagrant has this box already (its folder is looked at: asking Vagrant takes seconds)."""
    home = Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d"))
    return any((home / "boxes" / box.replace("/", "-VAGRANTSLASH-")).glob(f"*/**/{provider}"))


def provider_for(system: System) -> str:
    """Who runs the machine on this computer, unless LAB_PROVIDER says otherwise."""
    chosen = os.environ.get("LAB_PROVIDER", "")
    if chosen:
        return chosen
    if system.family == "macos" and system.arm:
        return "vmware_desktop"
    return "virtualbox" if system.family in ("macos", "windows") else "libvirt"


def distros(settings: Mapping[str, str]) -> list[str]:
    """The distributions that have a box in lab.env: its rows are LAB_BOX_<DISTRO>_<PROVIDER>."""
    rows = (re.match(r"LAB_BOX_([A-Z0-9]+)_", name) for name in settings)
    return list(dict.fromkeys(row[1].lower() for row in rows if row))


def distro_wanted(settings: Mapping[str, str]) -> str:
    """LAB_DISTRO, checked; empty where the person left it open."""
    wanted = os.environ.get("LAB_DISTRO", "")
    if wanted and wanted not in distros(settings):
        raise Problem(f"LAB_DISTRO={wanted} is not known", f"choose one of: {', '.join(distros(settings))}")
    return wanted


def choose(system: System, settings: Mapping[str, str]) -> tuple[str, str, bool]:
    """The distribution, the box's name, and whether it has to be built here. Raises Problem."""
    provider = provider_for(system)
    wanted = distro_wanted(settings)
    can_build = (
        provider == "libvirt" and system.family == "debian" and platform.machine() in ("x86_64", "aarch64")
    )
    if wanted.startswith("debian") and can_build:
        return wanted, f"shipshape/{wanted}", True
    distro = wanted or "ubuntu2204"
    box = settings.get(f"LAB_BOX_{distro.upper()}_{provider.upper()}", "")
    if not box:
        raise Problem(
            f"LAB_PROVIDER={provider} has no row here", "choose libvirt, virtualbox or vmware_desktop"
        )
    if box.startswith("shipshape/"):
        raise Problem(
            f"{wanted} for {provider} is built from Debian's packages, which needs Debian or Ubuntu here",
            "take a system from Vagrant's catalogue: LAB_DISTRO=ubuntu2204 make lab",
        )
    if is_added(box, provider) or catalogue_answers(box):
        return distro, box, False
    if wanted:
        raise Problem(
            f"Vagrant's box catalogue does not answer, and {wanted} comes from there",
            "check the network or the proxy, or take a box that is built here: LAB_DISTRO=debian12 make lab",
        )
    if not can_build:
        raise Problem(
            "Vagrant's box catalogue does not answer",
            "check the network or the proxy (HTTPS_PROXY), then run the same command again",
        )
    return "debian12", "shipshape/debian12", True


def get(
    checkout: Path, system: System, picked: tuple[str, str, bool], virtualisation: Virtualisation, log: Path
) -> Choices:
    """The machine's choices, with the box built where it has to be. Raises Problem."""
    distro, box, built_here = picked
    provider = provider_for(system)
    driver = ("kvm" if virtualisation.hardware else "qemu") if provider == "libvirt" else ""
    version = ""
    if built_here:
        number = distro.removeprefix("debian")
        with step(f"the Debian {number} box, from the apt mirror") as current:
            builder = ["bash", str(checkout / "vagrant" / "box" / "build.sh"), number]
            ended = children.run(tools.libvirt_group(builder), log=log, step=current, cwd=checkout)
            if ended.status != 0:
                raise children.failure("building the box", ended, log)
            name, _, version = ended.tail[-1].partition(" ")
            if name != box or not version:
                raise Problem(
                    f"building the box ended with {ended.tail[-1]!r} instead of its name", f"see {log}"
                )
            current.result = version
    else:
        line(f"  --  box {box} from Vagrant's catalogue")
    return Choices(provider=provider, driver=driver, distro=distro, box=box, box_version=version)
