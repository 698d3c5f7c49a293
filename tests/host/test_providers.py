"""The kinds of machine, without a machine: which is chosen, what each may do, what is written down."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from vagrant.host import (
    computer,
    subprocesses,
)
from vagrant.host.computer import System
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem
from vagrant.host.providers import (
    PROVIDERS,
    choosing,
    docker,
    docker_daemon,
    docker_probe,
    libvirt,
    named,
    virtual_machine,
)
from vagrant.host.providers.docker import Docker
from vagrant.host.providers.libvirt import Libvirt
from vagrant.host.providers.provider import Provider, distro_wanted, distros
from vagrant.host.providers.vmware import VMware

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = System("debian", "debian", "12", "Debian 12", arm=False)
FEDORA = System("fedora", "fedora", "43", "Fedora 43", arm=False)
ARM = System("debian", "ubuntu", "24.04", "Ubuntu 24.04", arm=True)
MAC = System("macos", "macos", "15", "macOS 15", arm=True)


def names(system: System) -> list[str]:
    found = choosing.options(system)
    return [f"{option.provider.name} {option.driver}".strip() for option in found.those]


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What this computer seems to have: hardware virtualisation, and the programs of which providers."""
    had = {"kvm": False, "libvirt": True, "docker": True, "vmware_desktop": True}
    monkeypatch.delenv("LAB_PROVIDER", raising=False)
    reason = "/dev/kvm is not there"
    monkeypatch.setattr(computer, "virtualisation_offered", lambda *_: "" if had["kvm"] else reason)
    monkeypatch.setattr(docker, "answers", lambda: "28.0.1" if had["docker"] else "")
    for kind in (Libvirt, Docker, VMware):

        def missing(self: Provider, *, builds: bool) -> list[str]:
            return [] if had[self.name] else [self.name]

        monkeypatch.setattr(kind, "missing", missing)
    return had


def test_hardware_virtualisation_comes_first_then_a_container_then_emulation(has: dict[str, bool]) -> None:
    has["kvm"] = True
    assert names(DEBIAN) == ["libvirt kvm", "docker", "libvirt qemu"]
    has["kvm"] = False
    assert names(DEBIAN) == ["docker", "libvirt qemu"]


def test_programs_that_the_lab_installs_count_as_there(has: dict[str, bool]) -> None:
    has.update(kvm=True, libvirt=False)
    assert names(DEBIAN)[0] == "libvirt kvm"


def test_installed_providers_come_before_those_that_a_person_would_have_to_install(
    has: dict[str, bool],
) -> None:
    has.update(kvm=True, libvirt=False)
    assert names(FEDORA) == ["docker", "libvirt kvm", "libvirt qemu"]
    has["docker"] = False
    assert names(FEDORA)[0] == "libvirt kvm"
    assert names(MAC) == ["vmware_desktop"]
    has.update(docker=True, vmware_desktop=False)
    assert names(MAC) == ["docker", "vmware_desktop"]


def test_server_is_a_container_on_arm_linux(has: dict[str, bool]) -> None:
    assert names(ARM) == ["docker"]


def test_sentence_says_what_was_chosen_why_and_how_to_choose_differently(has: dict[str, bool]) -> None:
    found = choosing.options(DEBIAN)
    sentence = "\n".join(choosing.sentence(found.those[0], found, "make lab"))
    assert "a system container (Docker 28.0.1)" in sentence
    assert "since /dev/kvm is not there" in sentence
    assert "LAB_PROVIDER=libvirt make lab" in sentence


def test_a_kind_that_is_asked_for_is_the_only_one(
    has: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PROVIDER", "libvirt")
    assert names(DEBIAN) == ["libvirt qemu"]
    monkeypatch.setenv("LAB_PROVIDER", "podman")
    with pytest.raises(Problem, match="LAB_PROVIDER=podman is not known") as caught:
        choosing.options(DEBIAN)
    assert "docker" in caught.value.next_steps[0]


def test_each_provider_is_known_by_vagrants_name_and_has_its_row_and_its_boxes() -> None:
    rows = set(re.findall(r"machine\.vm\.provider :(\w+) do", (ROOT / "Vagrantfile").read_text("utf-8")))
    boxes = re.findall(r"(?m)^LAB_BOX_([A-Z0-9]+)_(\w+)=", (ROOT / "vagrant" / "lab.env").read_text("utf-8"))
    assert rows == {provider.name for provider in PROVIDERS}
    for provider in PROVIDERS:
        assert named(provider.name) is provider
        distros = {distro for distro, name in boxes if name.lower() == provider.name}
        assert distros == {"UBUNTU2204", "UBUNTU2404", "DEBIAN12", "DEBIAN13"}


def test_provider_s_name_is_asked_for_in_its_module_alone() -> None:
    asks = re.compile(r"""(provider|\.name)\)? *(==|in) *\(?["'](libvirt|docker|virtualbox|vmware)""")
    offenders = [
        f"{path.name}: {row.strip()}"
        for path in (ROOT / "vagrant" / "host").glob("*.py")
        for row in path.read_text("utf-8").splitlines()
        if asks.search(row)
    ]
    assert not offenders


# ---- the container ----


def test_each_right_of_the_container_has_its_reason_above_it() -> None:
    reason = False
    for row in (ROOT / "vagrant" / "container" / "privileges").read_text("utf-8").splitlines():
        if row.startswith("#"):
            reason = True
        elif not row:
            reason = False
        else:
            assert reason or row == "--cgroupns=private", row


def test_the_container_has_no_right_to_everything() -> None:
    options = docker_probe.privileges()
    assert "--cap-drop=ALL" in options and "--privileged" not in options
    assert not [option for option in options if "seccomp" in option or "--cap-add=ALL" in option]
    devices = [option.partition("=")[2] for option in options if option.startswith("--device")]
    assert devices == ["b 7:* rwm", "c 10:237 rwm"], "loop devices, and nothing else"


def test_snapshots_need_less_than_a_server() -> None:
    added = {option for option in docker.KEEPER if option.startswith(("--cap-add", "--device"))}
    assert added < {*docker_probe.privileges()}


def test_a_pid_file_of_a_killed_daemon_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_daemon, "PID_FILE", tmp_path / "docker.pid")
    assert not docker_daemon.stale_pid_file()
    (tmp_path / "docker.pid").write_text(str(os.getpid()))
    assert docker_daemon.stale_pid_file(), "its number is another program's now"
    (tmp_path / "docker.pid").write_text("4194304999")
    assert not docker_daemon.stale_pid_file(), "the daemon sees by itself that no process has this number"


def test_a_container_that_vagrant_does_not_know_is_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vagrant").mkdir()
    (tmp_path / "vagrant" / "lab.env").write_text((ROOT / "vagrant" / "lab.env").read_text("utf-8"))
    machine = Machine(tmp_path, "test")
    commands: list[tuple[str, ...]] = []

    def note(*arguments: str, limit: float = 20.0) -> subprocess.CompletedProcess[str]:
        commands.append(arguments)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(docker, "docker", note)
    said = f'The container name "/{machine.full_name()}" is already in use by container "0123".'
    assert not Docker().remove_leftovers(machine, subprocesses.Ended(1, ("no such image",)))
    assert Docker().remove_leftovers(machine, subprocesses.Ended(1, tuple(said.split(" by "))))
    assert commands == [("rm", "--force", "--volumes", machine.full_name())]


# ---- boxes ----


def test_the_distributions_are_those_that_have_a_box(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert distros(made.settings) == ["ubuntu2204", "ubuntu2404", "debian12", "debian13"]
    monkeypatch.setenv("LAB_DISTRO", "gentoo")
    with pytest.raises(Problem, match="LAB_DISTRO=gentoo is not known") as caught:
        distro_wanted(made.settings)
    assert caught.value.next_steps == ("choose one of: ubuntu2204, ubuntu2404, debian12, debian13",)


def test_the_catalogue_is_given_up_on_within_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(virtual_machine, "CATALOGUE", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(virtual_machine, "CATALOGUE_LIMIT", 0.5)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        before = time.monotonic()
        assert not virtual_machine.catalogue_answers("bento/ubuntu-22.04")
    assert time.monotonic() - before < 60


def test_a_plugin_of_vagrants_own_counts_as_installed(tmp_path: Path) -> None:
    assert not libvirt.has_plugin(tmp_path)
    (tmp_path / "plugins.json").write_text('{"version": "1", "installed": {"vagrant-libvirt": {}}}')
    assert libvirt.has_plugin(tmp_path)


@pytest.mark.parametrize("system, missing", [("Fedora with it", False), ("Fedora without it", True)])
def test_a_plugin_that_rpm_has_installed_counts_as_there(
    system: str, missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No dpkg in the PATH, and an rpm that ends and prints as rpm 4.18 does.
    rpm = tmp_path / "rpm"
    answer = 'echo "package vagrant-libvirt is not installed"; exit 1' if missing else "exit 0"
    rpm.write_text(f'#!/bin/sh\n[ "$*" = "-q --quiet vagrant-libvirt" ] || exit 64\n{answer}\n')
    rpm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path))
    assert ("vagrant-libvirt" in Libvirt().missing(builds=False)) == missing
