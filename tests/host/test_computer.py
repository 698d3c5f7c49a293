"""This computer, as lab.py sees it: its system, and whether it really runs virtual machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needed
from vagrant.host import (
    computer,
)


def test_the_probe_runs_to_its_end_on_a_processor_that_works() -> None:
    needed.program("qemu-system-x86_64")
    assert computer.boots("tcg").returncode == computer.BOOTED


def test_the_probe_does_not_pass_where_the_guest_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    needed.program("qemu-system-x86_64")
    hangs = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; again
    monkeypatch.setattr(computer, "BOOT_SECTOR", hangs)
    monkeypatch.setattr(computer, "PROBE_LIMIT", 2.0)
    assert computer.boots("tcg").returncode == 124


def test_a_device_without_processor_flags_proves_nothing(tmp_path: Path) -> None:
    cpuinfo, device = tmp_path / "cpuinfo", tmp_path / "kvm"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 hypervisor\n")
    device.touch()
    found = computer.virtualisation(cpuinfo, device)
    assert not found.hardware
    assert "offers no vmx or svm" in found.reason


def test_flags_without_the_device_are_no_virtualisation_either(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu vmx\n")
    found = computer.virtualisation(cpuinfo, tmp_path / "kvm")
    assert (found.hardware, "is not there" in found.reason) == (False, True)


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "debian"),
        ("ID=debian\n", "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("ID=manjaro\nID_LIKE=arch\n", "arch"),
        ("ID=nixos\n", "other"),
    ],
)
def test_a_linux_is_known_by_its_package_tool(text: str, family: str) -> None:
    assert computer.family_of(computer.parse_os_release(text)) == family
