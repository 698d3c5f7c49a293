"""What the lab has put onto this computer, and what of it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vagrant.host import (
    record,
    tools,
    uninstall,
)

ROOT = Path(__file__).resolve().parents[2]


def test_installations_are_written_down_before_they_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert record.recorded() == {}
    record.remember("packages", ["vagrant"])
    record.remember("packages", ["docker.io", "vagrant"])
    record.remember("groups", ["docker"])
    assert record.recorded() == {"packages": ["docker.io", "vagrant"], "groups": ["docker"]}
    record.record().write_text("{")
    assert record.recorded() == {}


def test_uninstall_names_what_is_there_and_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout and a home of its own, with no Docker and no packages of the lab."""
    for name, folder in (("HOME", "home"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache"),
                         ("VAGRANT_HOME", "boxes")):  # fmt: skip
        monkeypatch.setenv(name, str(tmp_path / folder))
    checkout = tmp_path / "checkout"
    subprocess.run(["cp", "-r", str(ROOT / "vagrant"), str(ROOT / "pyproject.toml"), "--parents", "-t",
                    str(tmp_path), "--no-preserve=mode"], check=True)  # fmt: skip
    (tmp_path / str(ROOT).lstrip("/")).rename(checkout)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "cache" / "shipshape").mkdir(parents=True)
    (tmp_path / "boxes" / "boxes" / "shipshape-VAGRANTSLASH-debian12").mkdir(parents=True)
    shared = {str(tmp_path / "cache" / "shipshape")}
    shared.add(str(tmp_path / "boxes" / "boxes" / "shipshape-VAGRANTSLASH-debian12"))
    for others in ([], ["shipshape-01234567-lab"]):
        monkeypatch.setattr(uninstall, "machines_of_others", lambda _, found=others: found)
        titles = {piece.title for piece in uninstall.pieces(checkout, tmp_path / "log")}
        assert str(checkout / ".venv") in titles
        assert titles & shared == (set() if others else shared)
    monkeypatch.delenv("MAKELEVEL", raising=False)
    ran = subprocess.run(
        [sys.executable, "vagrant/lab.py", "uninstall"],
        cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "lab.py uninstall: uninstall asks first" in ran.stderr
    assert str(checkout / ".venv") in ran.stdout
    assert (checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("docker_is_used", "libvirt_is_used", "go"),
    [
        (False, False, ["dockerd", "virtlogd", "libvirtd"]),
        (True, False, ["virtlogd", "libvirtd"]),
        (False, True, ["dockerd"]),
    ],
)
def test_a_daemon_that_holds_machines_of_others_goes_on(
    monkeypatch: pytest.MonkeyPatch, docker_is_used: bool, libvirt_is_used: bool, go: list[str]
) -> None:
    monkeypatch.setattr(uninstall, "docker_is_used", lambda: docker_is_used)
    monkeypatch.setattr(uninstall, "libvirt_is_used", lambda: libvirt_is_used)
    monkeypatch.setattr(tools, "is_running", lambda name: name != "lxcfs")
    known = {"daemons": ["dockerd", "lxcfs", "virtlogd", "libvirtd"]}
    assert uninstall.daemons(known) == go
