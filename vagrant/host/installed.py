"""What the lab has put onto this computer, and how each piece of it goes: `make uninstall`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import children, tools
from .machine import Machine
from .providers.docker import docker
from .record import record, recorded
from .say import Problem, step


@dataclass(frozen=True)
class Piece:
    """One thing that is here because of the lab, and how it goes."""

    title: str
    remove: Callable[[], None]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "shipshape"


def folders(checkout: Path) -> list[Path]:
    """Boxes and images that were built, kernels for QEMU, and what a checkout has made of its own."""
    vagrant = Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d")) / "boxes"
    boot = [Path(f"/var/tmp/shipshape-{os.getuid()}")] if hasattr(os, "getuid") else []
    own = [checkout / name for name in (".venv", ".lab", ".vagrant", "labcheck.toml")]
    built = sorted(vagrant.glob("shipshape-VAGRANTSLASH-*")) if vagrant.exists() else []
    return [path for path in (cache(), *built, *boot, *own) if path.exists()]


def machines_of_others(checkout: Path) -> list[str]:
    """Containers of other checkouts, which need Docker and perhaps the same image."""
    mine = Machine(checkout, "lab").full_name().removesuffix("lab")
    names = docker("ps", "--all", "--filter", "name=^shipshape-", "--format", "{{.Names}}").stdout.split()
    return [name for name in names if not name.startswith(mine)]


def packages_with_what_came_along(packages: list[str]) -> list[str]:
    """What apt would take away with these packages: also what only they needed. Nothing is done."""
    answer = children.quick(
        ["apt-get", "--simulate", "purge", "--auto-remove", *packages], env={"LC_ALL": "C.UTF-8"}
    )
    return re.findall(r"(?m)^Purg (\S+)", answer.stdout)


def pieces(checkout: Path, destroy: Callable[[Machine], None], log: Path) -> list[Piece]:
    """What is here because of the lab, in the order in which it goes."""
    found: list[Piece] = []
    names = sorted({path.name for path in (checkout / ".lab").glob("*") if path.is_dir()})
    machines = [machine for machine in (Machine(checkout, name) for name in names) if machine.identity()]
    for machine in machines:
        found.append(Piece(f"the machine {machine.name}, with its snapshots", partial(destroy, machine)))
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shipshape/*").stdout.split()
    others = machines_of_others(checkout)
    if images and not others:
        found.append(
            Piece(f"images in Docker: {', '.join(images)}", lambda: require(docker("image", "rm", *images)))
        )
    known = recorded()
    there = [package for package in known.get("packages", []) if tools.is_installed(package)]
    if there and not others:
        leaving = packages_with_what_came_along(there)
        title = f"packages that the lab installed, and what only they needed: {' '.join(leaving or there)}"
        found.append(Piece(title, lambda: tools.purge(there, log)))
    for group in known.get("groups", []) if not others else []:
        user = os.environ.get("USER") or children.quick(["id", "-un"]).stdout.strip()
        command = tools.as_root(["gpasswd", "--delete", user, group])
        found.append(Piece(f"{user}'s place in the group {group}", partial(run, command)))
    for path in folders(checkout):
        found.append(Piece(str(path), partial(remove, path)))
    if record().exists() and not others:
        found.append(Piece(str(record().parent), lambda: remove(record().parent)))
    return found


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(command: list[str]) -> None:
    require(children.quick(command))


def require(answer: subprocess.CompletedProcess[str]) -> None:
    """Raises Problem where a short command failed."""
    if answer.returncode != 0:
        raise Problem(f"it could not be removed: {answer.stderr.strip()}", "mend that, then run it again")


def uninstall(found: list[Piece]) -> None:
    for piece in found:
        with step(f"removing {piece.title.partition(':')[0]}"):
            piece.remove()
