"""The programs that the lab needs on this computer: installed on Debian and Ubuntu, named elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import children
from .computer import System
from .say import Problem, Step, step

if sys.platform != "win32":
    import grp

# Debian's package -> the program that shows that it is there already, from whatever source.
PROGRAMS = {
    "vagrant": "vagrant",
    "libvirt-daemon-system": "libvirtd",
    "libvirt-clients": "virsh",
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "dnsmasq-base": "dnsmasq",
    "openssh-client": "ssh",
}
# Only where the box is built here.
BUILDERS = {"mmdebstrap": "mmdebstrap", "e2fsprogs": "mkfs.ext4"}
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What to type where this program installs nothing itself. One command a line.
ELSEWHERE = {
    "fedora": (
        "sudo dnf install vagrant vagrant-libvirt libvirt-daemon-kvm libvirt-client qemu-system-x86 qemu-img",
        "sudo systemctl enable --now libvirtd",
        'sudo usermod -aG libvirt "$USER"   # then log in again',
    ),
    "arch": (
        "sudo pacman -S vagrant libvirt qemu-base dnsmasq openssh pkgconf gcc make",
        "vagrant plugin install vagrant-libvirt",
        "sudo systemctl enable --now libvirtd",
        'sudo usermod -aG libvirt "$USER"   # then log in again',
    ),
    "macos": ("brew install --cask hashicorp/tap/hashicorp-vagrant", "brew install --cask virtualbox"),
    "windows": ("winget install Hashicorp.Vagrant", "winget install Oracle.VirtualBox"),
    "other": (
        "install Vagrant, its plugin vagrant-libvirt, libvirt, QEMU and OpenSSH from your system's packages",
    ),
}
# Ubuntu 24.04 took Vagrant out of its archive: it comes from its maker there, and so does the plugin.
FROM_HASHICORP = (
    "wget -O- https://apt.releases.hashicorp.com/gpg "
    "| sudo gpg --dearmor -o /usr/share/keyrings/hashicorp.gpg",
    'echo "deb [signed-by=/usr/share/keyrings/hashicorp.gpg] https://apt.releases.hashicorp.com '
    '$(. /etc/os-release; echo $VERSION_CODENAME) main" | sudo tee /etc/apt/sources.list.d/hashicorp.list',
    "sudo apt-get update && sudo apt-get install vagrant libvirt-dev libvirt-daemon-system libvirt-clients "
    "qemu-system-x86 qemu-utils dnsmasq-base build-essential pkg-config",
    "vagrant plugin install vagrant-libvirt",
)


def which(program: str) -> str | None:
    """Where a program is; the folders of the administrator count, they are not in everyone's PATH."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def is_installed(package: str) -> bool:
    """Whether dpkg has this package whole."""
    answer = children.quick(["dpkg-query", "-W", "-f", "${db:Status-Status}", package])
    return answer.returncode == 0 and answer.stdout == "installed"


def has_plugin(folder: Path | None = None) -> bool:
    """Whether Vagrant's own plugin folder has vagrant-libvirt (asking Vagrant would take seconds)."""
    home = folder or Path(os.environ.get("VAGRANT_HOME", Path.home() / ".vagrant.d"))
    source = home / "plugins.json"
    if not source.exists():
        return False
    try:
        return "vagrant-libvirt" in json.loads(source.read_text(encoding="utf-8")).get("installed", {})
    except ValueError:
        return False


def venv_package() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def venv_works() -> bool:
    """Whether this Python can make virtual environments: Debian splits ensurepip off."""
    return children.quick([sys.executable, "-c", "import ensurepip, venv"]).returncode == 0


def missing(provider: str, *, builds: bool) -> list[str]:
    """The Debian packages that are still to be installed for `provider`, in their order."""
    wanted = dict(PROGRAMS) if provider == "libvirt" else {"vagrant": "vagrant", "openssh-client": "ssh"}
    if builds:
        wanted |= BUILDERS
    found = [package for package, program in wanted.items() if which(program) is None]
    if provider == "libvirt" and not has_plugin() and not is_installed("vagrant-libvirt"):
        found.insert(1 if "vagrant" in found else 0, "vagrant-libvirt")
    if builds and not DEBIAN_KEYS.exists():
        found.append("debian-archive-keyring")
    if not venv_works():
        found.append(venv_package())
    return found


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def as_root(command: list[str]) -> list[str]:
    return command if is_root() else ["sudo", "-n", *command]


def may_become_root(again: str) -> None:
    """See that sudo works, asking for the password now and not in the middle. Raises Problem."""
    if is_root():
        return
    if shutil.which("sudo") is None:
        raise Problem("host packages are missing, and there is no sudo here", f"as root, type: {again}")
    if children.quick(["sudo", "-n", "true"]).returncode == 0:
        return
    if not sys.stdin.isatty() or children.foreground(["sudo", "-v"]) != 0:
        raise Problem("host packages are missing, and sudo wants a password", f"type: sudo {again}")


def apt_get(packages: list[str]) -> list[str]:
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def instructions(system: System, absent: list[str]) -> Problem:
    """What to type on a system where this program installs nothing."""
    commands = ELSEWHERE.get(system.family, ELSEWHERE["other"])
    return Problem(
        f"on {system.release} these programs have to be installed by hand: {', '.join(absent)}",
        *commands,
        "then run the same command again",
    )


def candidates(packages: list[str]) -> dict[str, bool]:
    """Which packages this computer's apt could install now, as far as it knows."""
    answer = children.quick(["apt-cache", "policy", *packages], env={"LC_ALL": "C.UTF-8"})
    blocks = dict(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (.*)$", answer.stdout, re.M))
    return {package: blocks.get(package, "(none)") != "(none)" for package in packages}


def mirror() -> str | None:
    """The first release file that apt is set up to fetch, or None; nothing is fetched for that."""
    answer = children.quick(["apt-get", "update", "--print-uris"])
    found = re.findall(r"^'(https?://\S+/InRelease)'", answer.stdout, re.M)
    return found[0] if found else None


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
        answer = children.quick(
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
        ended = children.run(as_root([*prefix, *command]), log=log, step=current, grouped=is_root())
        if ended.status != 0:
            raise children.failure(what, ended, log)

    with step(f"installing {len(packages)} host packages: {' '.join(packages)}") as current:
        if any(Path("/var/lib/dpkg/updates").iterdir()) or children.quick(["dpkg", "--audit"]).stdout.strip():
            apt(current, "finishing an interrupted package installation", ["dpkg", "--configure", "-a"])
        apt(current, "apt-get update", ["apt-get", *waits, "update"])
        known = candidates(packages)
        if not known.get("vagrant", True):
            raise Problem(
                "this system's archive has no package vagrant (Ubuntu took it out in 24.04)",
                *FROM_HASHICORP,
                "then run the same command again",
            )
        absent = [package for package, there in known.items() if not there]
        if absent:
            raise Problem(
                f"this system's archive has no package {', '.join(absent)}",
                "enable the component universe (Ubuntu) or install them by hand, then run this again",
            )
        apt(current, "apt-get install", ["apt-get", *waits, *apt_get(packages)[1:]])


def give_kvm_to_its_group(device: Path = Path("/dev/kvm")) -> None:
    """Let libvirt's guests open /dev/kvm, as udev does where there is one.

    Readable by root alone, it makes libvirt ask the machine's capabilities again at every define: 70 s each.
    """
    if not device.exists():
        return
    group = {entry.gr_name: entry.gr_gid for entry in grp.getgrall()}.get("kvm")
    state = device.stat()
    if group is None or (state.st_gid == group and state.st_mode & 0o060 == 0o060):
        return
    for command in (["chown", "root:kvm", str(device)], ["chmod", "660", str(device)]):
        answer = children.quick(as_root(command))
        if answer.returncode != 0:
            raise Problem(
                f"{device} cannot be given to the group kvm: {answer.stderr.strip()}",
                f"as root: chown root:kvm {device}; chmod 660 {device}",
            )


VIRSH = ("virsh", "-c", "qemu:///system")


def libvirt_answers() -> bool:
    return children.quick(libvirt_group([*VIRSH, "version", "--daemon"])).returncode == 0


def start_libvirt(log: Path) -> None:
    """See that libvirt's daemons run, through systemd or, where there is none, as daemons. Raises Problem."""
    if libvirt_answers():
        return
    with step("starting libvirt") as current:
        if Path("/run/systemd/system").exists():
            commands = [["systemctl", "start", "libvirtd"]]
        else:
            running = {
                (folder / "comm").read_text().strip()
                for folder in Path("/proc").glob("[0-9]*")
                if (folder / "comm").exists()
            }
            commands = [[daemon, "-d"] for daemon in ("virtlogd", "libvirtd") if daemon not in running]
        for command in commands:
            command[0] = which(command[0]) or command[0]
            ended = children.run(as_root(command), log=log, step=current, limit=60, grouped=False)
            if ended.status != 0:
                raise children.failure(" ".join(command), ended, log)
        deadline = time.monotonic() + 30
        while not libvirt_answers():
            if time.monotonic() > deadline:
                raise Problem(
                    "libvirt does not answer on qemu:///system within 30 s",
                    f"see {log} and: virsh -c qemu:///system list",
                )
            time.sleep(0.2)


def join_libvirt_group() -> None:
    """Put the person into the group that may talk to libvirt; it holds at the next login. Raises Problem."""
    if is_root():
        return
    user = os.environ.get("USER") or children.quick(["id", "-un"]).stdout.strip()
    if user in grp.getgrnam("libvirt").gr_mem:
        return
    with step(f"adding {user} to the group libvirt"):
        answer = children.quick(as_root(["usermod", "-aG", "libvirt", user]))
        if answer.returncode != 0:
            raise Problem(
                f"{user} cannot be added to the group libvirt: {answer.stderr.strip()}",
                f"type: sudo usermod -aG libvirt {user}",
            )


def libvirt_group(command: list[str]) -> list[str]:
    """The command as a member of the group libvirt, where this login does not have the group yet."""
    if os.name != "posix" or is_root() or shutil.which("sg") is None:
        return command
    try:
        group = grp.getgrnam("libvirt").gr_gid
    except KeyError:
        return command
    if group in os.getgroups():
        return command
    quoted = " ".join("'" + part.replace("'", "'\\''") + "'" for part in command)
    return ["sg", "libvirt", "-c", quoted]
