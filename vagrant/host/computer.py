"""What this computer is and has: system, disk, memory, ports, and whether it really runs virtual machines."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import subprocesses

# A boot sector that does what a kernel does first: page tables for 2 MiB, PAE, long mode, paging, a far jump.
# Then, in 64-bit code, it computes 42 in a register and writes it to the isa-debug-exit port, which ends qemu
# with status 42*2+1. Real-mode code would prove too little: some hosts' KVM runs that, and no kernel.
LONG_MODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007c66bf0010000066b9001000006631c0fc66f3abc70600100320c70600200330c706003083"
    "0066b8a00000000f22e066bf001000000f22df66b9800000c00f32660d000100000f3066b8110000800f22c00f011690"
    "7cea667c080048b8000000000100000048c1e8206bc02a66baf400eef4ebfe90000000000000000000000000009a2000"
    "0f00807c0000"
)
BOOT_SECTOR = LONG_MODE.ljust(510, b"\0") + b"\x55\xaa"
BOOTED = 42 * 2 + 1
PROBE_LIMIT = 15.0  # seconds; a working KVM needs under one


@dataclass(frozen=True)
class System:
    """`family` names the package manager here; `release` is a name for a person."""

    family: str  # debian, fedora, arch, macos, windows, other
    identifier: str  # ubuntu, debian, fedora, … as in /etc/os-release
    version: str
    release: str
    arm: bool


def parse_os_release(text: str) -> dict[str, str]:
    """The pairs of /etc/os-release, without their quotes."""
    pairs = re.findall(r"^([A-Z_]+)=(.*)$", text, re.M)
    return {name: value.strip().strip("\"'") for name, value in pairs}


def family_of(release: dict[str, str]) -> str:
    """Which family's package tool this Linux has."""
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    for family, known in (
        ("debian", {"debian", "ubuntu"}),
        ("fedora", {"fedora", "rhel"}),
        ("arch", {"arch"}),
    ):
        if names & known:
            return family
    return "other"


def system() -> System:
    """The system that this program runs on."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    if os.name == "nt":
        return System("windows", "windows", platform.version(), "Windows", arm)
    if platform.system() == "Darwin":
        return System("macos", "macos", platform.mac_ver()[0], f"macOS {platform.mac_ver()[0]}", arm)
    source = Path("/etc/os-release")
    release = parse_os_release(source.read_text(encoding="utf-8")) if source.exists() else {}
    name = release.get("PRETTY_NAME", platform.system())
    return System(family_of(release), release.get("ID", "other"), release.get("VERSION_ID", ""), name, arm)


def free_disk(place: Path) -> int:
    """Free bytes where `place` is, or will be."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def same_disk(first: Path, second: Path) -> bool:
    """Whether two places take from the same free space."""
    devices = []
    for place in (first, second):
        while not place.exists():
            place = place.parent
        devices.append(place.stat().st_dev)
    return devices[0] == devices[1]


def free_memory() -> int | None:
    """Bytes of memory that a new program can have without swapping; None where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"), re.M)
        return int(available.group(1)) * 1024 if available else None
    if os.name == "nt":
        return _windows_memory()
    answer = subprocesses.quick(["vm_stat"])
    page = re.search(r"page size of (\d+) bytes", answer.stdout)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", answer.stdout, re.M)
    return int(page.group(1)) * sum(map(int, pages)) if page and pages else None


def _windows_memory() -> int | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "available", "page", "page_free", "v", "v_free", "x")
            ),
        )

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    kernel32 = getattr(ctypes, "windll").kernel32  # noqa: B009 (the name exists on Windows alone)
    return int(status.available) if kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def port_is_free(port: int) -> bool:
    """Whether a program may listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Virtualisation:
    """Whether the processor runs guests itself; `reason` says why not, for a person."""

    hardware: bool
    reason: str


def boots(accelerator: str) -> subprocess.CompletedProcess[str]:
    """Run a guest of one boot sector under qemu: exit status `BOOTED` proves that guest code ran."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder) / "probe.img"
        disk.write_bytes(BOOT_SECTOR)
        return subprocesses.quick(
            ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", "-machine", "pc", "-m", "16",
             "-nodefaults", "-display", "none", "-no-reboot",
             "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
             "-drive", f"file={disk},format=raw,if=ide"],
            limit=PROBE_LIMIT,
        )  # fmt: skip


CPUINFO, KVM = Path("/proc/cpuinfo"), Path("/dev/kvm")


def virtualisation_offered(cpuinfo: Path = CPUINFO, device: Path = KVM) -> str:
    """Why KVM cannot work here, as far as flags and files tell; empty if it may."""
    flags = (
        re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.M) if cpuinfo.exists() else None
    )
    offered = set(flags.group(1).split()) & {"vmx", "svm"} if flags else set()
    if not device.exists():
        word = "offers it" if offered else "offers none"
        return f"{device} is not there (the processor {word})"
    return "" if offered else f"{device} is there, but this processor offers no vmx or svm to it"


def virtualisation(cpuinfo: Path = CPUINFO, device: Path = KVM) -> Virtualisation:
    """Whether KVM works here: the processor's flags first, then a guest that really runs."""
    if reason := virtualisation_offered(cpuinfo, device):
        return Virtualisation(False, reason)
    answer = boots("kvm")
    if answer.returncode == BOOTED:
        return Virtualisation(True, "")
    if answer.returncode == 124:
        return Virtualisation(False, f"{device} opens, but a guest of a few instructions did not run on it.")
    last = subprocesses.last_line(answer, f"exit status {answer.returncode}")
    return Virtualisation(False, f"{device} is there, but a guest does not start on it: {last}")
