"""libvirt with QEMU: virtual machines on Linux, by KVM, or emulated where the processor does not do it."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from .. import computer, failures, record, subprocesses
from ..computer import System
from ..progress import Problem, step
from ..state import Choices
from ..tools import as_root, in_group, is_installed, is_root, is_running, which
from .provider import Image, Machine, Unusable, box_of, built_version, distro_wanted
from .virtual_machine import VirtualMachine, catalogue_answers, is_added

if sys.platform != "win32":
    import grp

BUILDER = Path(__file__).resolve().parents[2] / "box" / "build.sh"
VIRSH = ("virsh", "-c", "qemu:///system")
DAEMONS = ("virtlogd", "libvirtd")  # in the order in which they start


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


def lost_its_address(text: str) -> bool:
    """Whether Vagrant gave up while it booted: the DHCP lease from before a pause ran out just then."""
    return "'inaccessible' state" in " ".join(text.split())


class Libvirt(VirtualMachine):
    name = "libvirt"
    programs: Mapping[str, str] = {
        "vagrant": "vagrant",
        "libvirt-daemon-system": "libvirtd",
        "libvirt-clients": "virsh",
        "qemu-system-x86": "qemu-system-x86_64",
        "qemu-utils": "qemu-img",
        "dnsmasq-base": "dnsmasq",
        "openssh-client": "ssh",
    }
    builders: Mapping[str, str] = {"mmdebstrap": "mmdebstrap", "e2fsprogs": "mkfs.ext4"}

    def title(self, driver: str) -> str:
        if driver == "qemu":
            return "an emulated machine (libvirt, QEMU): everything works, about five times slower"
        return "a virtual machine (libvirt, KVM)"

    def drivers(self, system: System) -> tuple[str, ...]:
        return ("kvm", "qemu")

    def fits(self, system: System) -> bool:
        return system.family not in ("macos", "windows") and not system.arm

    def obstacle(self, system: System, driver: str) -> str:
        return computer.virtualisation_offered() if driver == "kvm" else ""

    def order(self, driver: str) -> int:
        return 2 if driver == "qemu" else 0

    def probe(self, choices: Choices, log: Path) -> None:
        if choices.driver != "kvm":
            return
        with step("hardware virtualisation") as current:
            virtualisation = computer.virtualisation()
            current.result = "KVM runs guests" if virtualisation.hardware else "none"
        if not virtualisation.hardware:
            raise Unusable(
                virtualisation.reason,
                "on a cloud machine, ask for nested virtualisation",
                "or take an emulated machine: LAB_PROVIDER=libvirt make lab",
            )

    def missing(self, *, builds: bool) -> list[str]:
        packages = super().missing(builds=builds)
        if not has_plugin() and not is_installed("vagrant-libvirt"):
            packages.insert(1 if "vagrant" in packages else 0, "vagrant-libvirt")
        return packages

    def by_hand(self, system: System) -> tuple[str, ...]:
        if system.family == "fedora":
            return (
                "sudo dnf install vagrant vagrant-libvirt libvirt-daemon libvirt-daemon-kvm libvirt-client "
                "qemu-system-x86 qemu-img",
                "sudo systemctl enable --now libvirtd",
                'sudo usermod -aG libvirt "$USER"   # then log in again',
            )
        if system.family == "arch":
            return (
                "sudo pacman -S vagrant libvirt qemu-base dnsmasq openssh pkgconf gcc make",
                "vagrant plugin install vagrant-libvirt",
                "sudo systemctl enable --now libvirtd",
                'sudo usermod -aG libvirt "$USER"   # then log in again',
            )
        return ("install Vagrant, its plugin vagrant-libvirt, libvirt, QEMU and OpenSSH from your packages",)

    def start(self, log: Path) -> None:
        give_kvm_to_its_group()
        join_libvirt_group()
        start_libvirt(log / "libvirt.log")

    def command(self, command: list[str]) -> list[str]:
        return in_group("libvirt", command)

    def disk(self) -> Path:
        return Path("/var/lib/libvirt/images")

    def pick(self, system: System, settings: Mapping[str, str]) -> Image:
        asked_for = distro_wanted(settings)
        can_build = system.family == "debian" and platform.machine() in ("x86_64", "aarch64")
        if asked_for.startswith("debian"):
            if can_build:
                return self.built(asked_for)
            raise Problem(
                f"{asked_for} for libvirt is built from Debian's packages, which needs Debian or Ubuntu here",
                "take a system from Vagrant's catalogue: LAB_DISTRO=ubuntu2204 make lab",
            )
        box = box_of(settings, asked_for or "ubuntu2204", self.name)
        there = is_added(box, self.name)
        if there or catalogue_answers(box):
            return Image(asked_for or "ubuntu2204", box, is_there=there)
        if asked_for:
            raise Problem(
                f"Vagrant's box catalogue does not answer, and {asked_for} comes from there",
                "check the network or the proxy, or take a box that is built here: "
                "LAB_DISTRO=debian12 make lab",
            )
        if can_build:
            return self.built("debian12")
        raise Problem(
            "Vagrant's box catalogue does not answer",
            "check the network or the proxy (HTTPS_PROXY), then run the same command again",
        )

    def built(self, distro: str) -> Image:
        """The Debian box that is built here."""
        name, _, version = built_version(BUILDER, distro).partition(" ")
        return Image(distro, name, built_here=True, is_there=is_added(name, self.name, version))

    def get(self, checkout: Path, image: Image, driver: str, log: Path) -> Choices:
        if not image.built_here:
            return super().get(checkout, image, driver, log)
        number = image.distro.removeprefix("debian")
        with step(f"the Debian {number} box, from the apt mirror") as current:
            builder = ["bash", str(BUILDER), number]
            ended = subprocesses.run(self.command(builder), log=log, step=current, cwd=checkout)
            if ended.status != 0:
                raise failures.failure("building the box", ended, log)
            name, _, version = ended.tail[-1].partition(" ")
            if name != image.name or not version:
                raise Problem(
                    f"building the box ended with {ended.tail[-1]!r} instead of its name", f"see {log}"
                )
            current.result = version
        return Choices(self.name, driver, image.distro, name, version)

    def is_passing(self, ended: subprocesses.Ended) -> bool:
        return lost_its_address(ended.text)

    def remove_leftovers(self, machine: Machine, ended: subprocesses.Ended) -> bool:
        taken = re.search(r"[Nn]ame `?(\S+?)`? of domain about to create is already taken", ended.text)
        if taken is None and "Volume for domain is already created" not in ended.text:
            return False
        if machine.identity():
            return False  # Vagrant knows the machine: nothing of it is left over
        domain = taken.group(1) if taken else machine.full_name()
        with step(f"removing what an interruption left: {domain}"):
            subprocesses.quick(self.command([*VIRSH, "destroy", domain]))
            subprocesses.quick(self.command([*VIRSH, "undefine", domain, "--snapshots-metadata"]))
            removal = subprocesses.quick(
                self.command([*VIRSH, "vol-delete", "--pool", "default", f"{domain}.img"])
            )
        return removal.returncode == 0 or taken is not None


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
        answer = subprocesses.quick(as_root(command))
        if answer.returncode != 0:
            raise Problem(
                f"{device} cannot be given to the group kvm: {answer.stderr.strip()}",
                f"as root: chown root:kvm {device}; chmod 660 {device}",
            )


def libvirt_answers() -> bool:
    return subprocesses.quick(in_group("libvirt", [*VIRSH, "version", "--daemon"])).returncode == 0


def start_libvirt(log: Path) -> None:
    """See that libvirt's daemons run, through systemd or, where there is none, as daemons. Raises Problem."""
    if libvirt_answers():
        return
    with step("starting libvirt") as current:
        if Path("/run/systemd/system").exists():
            commands = [["systemctl", "start", "libvirtd"]]
        else:
            absent = [daemon for daemon in DAEMONS if not is_running(daemon)]
            record.remember("daemons", absent)
            commands = [[daemon, "-d"] for daemon in absent]
        for command in commands:
            command[0] = which(command[0]) or command[0]
            ended = subprocesses.run(as_root(command), log=log, step=current, limit=60, grouped=False)
            if ended.status != 0:
                raise failures.failure(" ".join(command), ended, log)
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
    user = os.environ.get("USER") or subprocesses.quick(["id", "-un"]).stdout.strip()
    members = {entry.gr_name: entry.gr_mem for entry in grp.getgrall()}.get("libvirt")
    if members is None or user in members:  # without the group, polkit decides
        return
    record.remember("groups", ["libvirt"])
    with step(f"adding {user} to the group libvirt"):
        answer = subprocesses.quick(as_root(["usermod", "-aG", "libvirt", user]))
        if answer.returncode != 0:
            raise Problem(
                f"{user} cannot be added to the group libvirt: {answer.stderr.strip()}",
                f"type: sudo usermod -aG libvirt {user}",
            )
