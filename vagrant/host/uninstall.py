"""What the lab has put onto this computer, and how each piece of it goes: `make uninstall`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import lifecycle, subprocesses, tools
from .machine import Machine
from .progress import Problem, step
from .providers.docker_daemon import docker
from .providers.docker_probe import PROBE
from .providers.libvirt import DAEMONS as OF_LIBVIRT
from .providers.libvirt import VIRSH, Libvirt
from .record import record, recorded


@dataclass(frozen=True)
class Piece:
    """One thing that is here because of the lab, and how it goes."""

    title: str
    remove: Callable[[], None]
    takes_root: bool = False


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache") / "shipshape"


def machines(checkout: Path) -> list[Machine]:
    """The learner's, and those of the tests; whether they are there or not."""
    names = {path.name for path in (checkout / ".lab").glob("*") if path.is_dir()}
    return [Machine(checkout, name) for name in sorted({"lab", "test", "test-2", "test-3", *names})]


def shared_folders() -> list[Path]:
    """Of all checkouts of this account: boxes and images that were built, kernels for QEMU."""
    vagrant = Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d")) / "boxes"
    boot = [Path(f"/var/tmp/shipshape-{os.getuid()}")] if hasattr(os, "getuid") else []
    built = sorted(vagrant.glob("shipshape-VAGRANTSLASH-*"))
    return [path for path in (cache(), *built, *boot) if path.exists()]


def own_folders(checkout: Path) -> list[Path]:
    """What this checkout has made in its own folder."""
    own = [checkout / name for name in (".venv", ".lab", ".vagrant", "labcheck.toml")]
    return [path for path in own if path.exists()]


def machines_of_others(checkout: Path) -> list[str]:
    """Machines of other checkouts, which need Docker or libvirt, and perhaps the same image or box."""
    mine = Machine(checkout, "lab").full_name().removesuffix("lab")
    names = docker("ps", "--all", "--filter", "name=^shipshape-", "--format", "{{.Names}}").stdout.split()
    names += [name for name in domains() if name.startswith("shipshape-")]
    return [name for name in names if not name.startswith((mine, PROBE))]


def domains() -> list[str]:
    """The machines that libvirt knows; none where it does not answer."""
    return subprocesses.quick(Libvirt().command([*VIRSH, "list", "--all", "--name"])).stdout.split()


def leaving(known: dict[str, list[str]]) -> list[str]:
    """The packages that the lab has installed, and what came along with them and nothing else needs by now.

    apt is asked what it would take away; whatever was here before the lab stays. Nothing is done.
    """
    there = [package for package in known.get("packages", []) if tools.is_installed(package)]
    if docker_is_used():  # to remove Docker is to remove what is in it
        there = [package for package in there if not package.startswith("docker")]
    if libvirt_is_used():
        there = [package for package in there if not re.match(r"libvirt|qemu|vagrant|dnsmasq", package)]
    if not there:
        return []
    answer = subprocesses.quick(
        ["apt-get", "--simulate", "purge", "--auto-remove", *there], env={"LC_ALL": "C.UTF-8"}
    )
    ours = {*there, *known.get("packages brought along", [])}
    return [package for package in re.findall(r"(?m)^Purg (\S+)", answer.stdout) if package in ours] or there


def docker_is_used() -> bool:
    """Whether Docker holds containers, volumes or images that are not the lab's, or does not tell."""
    containers = docker("ps", "--all", "--format", "{{.Names}}")
    images = docker("image", "ls", "--format", "{{.Repository}}")
    volumes = docker("volume", "ls", "--quiet")
    if containers.returncode != 0:
        return True
    ours = [name for name in containers.stdout.split() if name.startswith("shipshape-")]
    others = [name for name in containers.stdout.split() if name not in ours]
    others += [name for name in images.stdout.split() if not name.startswith("shipshape/")]
    return bool(others) or len(volumes.stdout.split()) > len(ours)


def libvirt_is_used() -> bool:
    """Whether libvirt knows a machine: those of this checkout are gone by the time the packages go."""
    return any(not name.startswith("shipshape-") for name in domains())


def daemons(known: dict[str, list[str]]) -> list[str]:
    """Those that the lab has started and nothing else uses; where there is systemd, it has started none."""
    running = [name for name in known.get("daemons", []) if tools.is_running(name)]
    libvirts = [name for name in running if name in OF_LIBVIRT]
    others = [name for name in running if name not in OF_LIBVIRT]
    return [
        *(others if others and not docker_is_used() else []),
        *(libvirts if libvirts and not libvirt_is_used() else []),
    ]


def stop_daemons(names: list[str]) -> None:
    """Stop them, and what libvirt's networks leave running without their daemon: bridges and dnsmasq."""
    if "libvirtd" in names:
        listed = subprocesses.quick(Libvirt().command([*VIRSH, "net-list", "--name"])).stdout.split()
        for network in listed:
            subprocesses.quick(Libvirt().command([*VIRSH, "net-destroy", network]))
    for name in names:
        subprocesses.quick(tools.as_root(["pkill", "-x", name]))
    deadline = time.monotonic() + 30
    while any(tools.is_running(name) for name in names) and time.monotonic() < deadline:
        time.sleep(0.2)


def remove_images() -> None:
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shipshape/*").stdout.split()
    if images:  # else the last machine took its own along
        require(docker("image", "rm", *images))


def pieces(checkout: Path, log: Path) -> list[Piece]:
    """What is here because of the lab, in the order in which it goes."""
    here: list[Piece] = []
    for machine in (machine for machine in machines(checkout) if machine.identity()):
        here.append(
            Piece(f"the machine {machine.name}, with its snapshots", partial(lifecycle.destroy, machine))
        )
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shipshape/*").stdout.split()
    other_machines = machines_of_others(checkout)
    if images and not other_machines:
        here.append(Piece(f"images in Docker: {', '.join(images)}", remove_images))
    known = recorded()
    if not other_machines and (started := daemons(known)):
        title = f"daemons that the lab started: {', '.join(started)}"
        here.append(Piece(title, partial(stop_daemons, started), takes_root=True))
    for group in known.get("groups", []) if not other_machines else []:
        user = os.environ.get("USER") or subprocesses.quick(["id", "-un"]).stdout.strip()
        command = tools.as_root(["gpasswd", "--delete", user, group])
        here.append(Piece(f"{user}'s place in the group {group}", partial(run, command), takes_root=True))
    packages = leaving(known)
    if packages and not other_machines:
        title = f"packages that the lab installed, and what only they needed: {' '.join(packages)}"
        here.append(Piece(title, partial(tools.purge, packages, log), takes_root=True))
    for path in [*([] if other_machines else shared_folders()), *own_folders(checkout)]:
        here.append(Piece(str(path), partial(remove, path)))
    if record().exists() and not other_machines:
        here.append(Piece(str(record().parent), lambda: remove(record().parent)))
    return here


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(command: list[str]) -> None:
    require(subprocesses.quick(command))


def require(answer: subprocess.CompletedProcess[str]) -> None:
    """Raises Problem where a short command failed."""
    if answer.returncode != 0:
        raise Problem(f"it could not be removed: {answer.stderr.strip()}", "mend that, then run it again")


def remove_all(pieces: list[Piece]) -> None:
    """Remove them in their order, a step for each. Raises Problem."""
    for piece in pieces:
        with step(f"removing {piece.title.partition(':')[0]}"):
            piece.remove()
