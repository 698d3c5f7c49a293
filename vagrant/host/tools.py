"""The programs that the lab needs on this computer: installed on Debian and Ubuntu, named elsewhere."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from . import failures, record, subprocesses
from .computer import System
from .progress import Problem, Step, step

if sys.platform != "win32":
    import grp

# Ubuntu 24.04 took Vagrant out of its archive: it comes from its maker there.
VAGRANT_FROM_HASHICORP = (
    "wget -O- https://apt.releases.hashicorp.com/gpg "
    "| sudo gpg --dearmor -o /usr/share/keyrings/hashicorp.gpg",
    'echo "deb [signed-by=/usr/share/keyrings/hashicorp.gpg] https://apt.releases.hashicorp.com '
    '$(. /etc/os-release; echo $VERSION_CODENAME) main" | sudo tee /etc/apt/sources.list.d/hashicorp.list',
    "sudo apt-get update && sudo apt-get install vagrant",
    "for a virtual machine also: sudo apt-get install libvirt-dev libvirt-daemon-system libvirt-clients "
    "qemu-system-x86 qemu-utils dnsmasq-base build-essential pkg-config "
    "&& vagrant plugin install vagrant-libvirt",
)


def which(program: str) -> str | None:
    """Where a program is; the folders of the administrator count, they are not in every account's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def is_installed(package: str) -> bool:
    """Whether dpkg has this package whole, or rpm has it."""
    answer = subprocesses.quick(["dpkg-query", "-W", "-f", "${db:Status-Status}", package])
    if answer.returncode == 0 and answer.stdout == "installed":
        return True
    return subprocesses.quick(["rpm", "-q", "--quiet", package]).returncode == 0


def venv_package() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def venv_works() -> bool:
    """Whether this Python can make virtual environments: Debian splits ensurepip off."""
    return subprocesses.quick([sys.executable, "-c", "import ensurepip, venv"]).returncode == 0


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def as_root(command: list[str]) -> list[str]:
    return command if is_root() else ["sudo", "-n", *command]


def may_become_root(again: str) -> None:
    """See that sudo works, asking for the password now and not in the middle. Raises Problem.

    `again`: what root would type.
    """
    if is_root():
        return
    if shutil.which("sudo") is None:
        raise Problem("this takes root, and there is no sudo here", f"as root, type: {again}")
    if subprocesses.quick(["sudo", "-n", "true"]).returncode == 0:
        return
    if not sys.stdin.isatty() or subprocesses.foreground(["sudo", "-v"]) != 0:
        raise Problem("this takes root, and sudo wants a password", f"type: sudo {again}")


def apt_get(packages: list[str]) -> list[str]:
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def instructions(system: System, absent: list[str], commands: tuple[str, ...]) -> Problem:
    """What to type on a system where this program installs nothing."""
    return Problem(
        f"on {system.release} these programs have to be installed by hand: {', '.join(absent)}",
        *commands,
        "then run the same command again",
    )


def candidates(packages: list[str]) -> dict[str, bool]:
    """Which packages this computer's apt could install now, as far as it knows."""
    answer = subprocesses.quick(["apt-cache", "policy", *packages], env={"LC_ALL": "C.UTF-8"})
    blocks = dict(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (.*)$", answer.stdout, re.M))
    return {package: blocks.get(package, "(none)") != "(none)" for package in packages}


def mirror() -> str | None:
    """The first release file that apt is set up to fetch, or None; nothing is fetched for that."""
    answer = subprocesses.quick(["apt-get", "update", "--print-uris"])
    addresses = re.findall(r"^'(https?://\S+/InRelease)'", answer.stdout, re.M)
    return addresses[0] if addresses else None


def mirror_answers() -> None:
    """Fetch one small file with apt's own transport, so with its proxy and trust. Raises Problem."""
    address = mirror()
    if address is None:
        raise Problem(
            "apt is set up with no package mirror", "add one to /etc/apt/sources.list, then run this again"
        )
    limits = [f"Acquire::{name}" for name in ("Retries=1", "http::Timeout=15", "https::Timeout=15")]
    options = [word for limit in limits for word in ("-o", limit)]
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocesses.quick(
            ["/usr/lib/apt/apt-helper", *options, "download-file", address, f"{folder}/InRelease"], limit=60
        )
    if answer.returncode != 0:
        text = (answer.stderr or answer.stdout).strip().splitlines()
        reason = [part for part in text if part.startswith("E:")] or text[-1:] or ["no reason given"]
        raise Problem(
            f"the apt mirror {address.partition('/dists/')[0]} does not answer ({reason[-1]})",
            "check the network, /etc/apt/sources.list and apt's proxy: `apt-get update` shows the same",
        )


def install(packages: list[str], log: Path) -> None:
    """Install packages with apt, having repaired what an interruption may have left. Raises Problem."""
    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # The environment does not pass sudo, so it travels in the command.
    prefix = ["env", *(f"{name}={value}" for name, value in env.items())]
    waits = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]

    def apt(current: Step, what: str, command: list[str]) -> None:
        ended = subprocesses.run(as_root([*prefix, *command]), log=log, step=current, grouped=is_root())
        if ended.status != 0:
            raise failures.failure(what, ended, log)

    with step(f"installing {len(packages)} host packages: {' '.join(packages)}") as current:
        if (
            any(Path("/var/lib/dpkg/updates").iterdir())
            or subprocesses.quick(["dpkg", "--audit"]).stdout.strip()
        ):
            apt(current, "finishing an interrupted package installation", ["dpkg", "--configure", "-a"])
        apt(current, "apt-get update", ["apt-get", *waits, "update"])
        known = candidates(packages)
        if not known.get("vagrant", True):
            raise Problem(
                "this system's archive has no package vagrant (Ubuntu took it out in 24.04)",
                *VAGRANT_FROM_HASHICORP,
                "then run the same command again",
            )
        absent = [package for package, there in known.items() if not there]
        if absent:
            raise Problem(
                f"this system's archive has no package {', '.join(absent)}",
                "enable the component universe (Ubuntu) or install them by hand, then run this again",
            )
        before = installed_packages()
        record.remember("packages", [package for package in packages if package not in before])
        try:
            apt(current, "apt-get install", ["apt-get", *waits, *apt_get(packages)[1:]])
        finally:
            record.remember("packages brought along", sorted(installed_packages() - before - {*packages}))


def installed_packages() -> set[str]:
    """All that dpkg has whole."""
    answer = subprocesses.quick(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    return {row.split()[0] for row in answer.stdout.splitlines() if row.endswith(" installed")}


def purge(packages: list[str], log: Path) -> None:
    """Remove these packages with their settings, and no other. Raises Problem."""
    settings = [
        "DEBIAN_FRONTEND=noninteractive",
        "SUDO_FORCE_REMOVE=yes",
    ]  # of the lab: it was not here before
    command = ["env", *settings, "apt-get", "purge", "-y", *packages]
    ended = subprocesses.run(as_root(command), log=log, grouped=is_root())
    if ended.status != 0:
        raise failures.failure("apt-get purge", ended, log)


def is_running(program: str) -> bool:
    """Whether a process of this name is there."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == program:
                return True
        except OSError:
            continue  # it has ended meanwhile
    return False


def in_group(group: str, command: list[str]) -> list[str]:
    """The command as a member of a group that this account has joined and this login has not."""
    if os.name != "posix" or is_root() or shutil.which("sg") is None:
        return command
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError:
        return command
    user = os.environ.get("USER") or subprocesses.quick(["id", "-un"]).stdout.strip()
    if number in os.getgroups() or user not in grp.getgrgid(number).gr_mem:
        return command
    return ["sg", group, "-c", shlex.join(command)]
