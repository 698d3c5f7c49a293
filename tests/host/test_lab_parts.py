"""The parts of lab.py, without a machine: this computer's facts, files it writes, the way to a chapter."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from tests import needed
from vagrant.host import (
    certificates,
    chapters,
    computer,
    labcheck_config,
    lifecycle,
    preflight,
    readiness,
    snapshots,
    ssh_config,
    ssh_files,
    subprocesses,
    tools,
)
from vagrant.host.environment import Environment
from vagrant.host.inputs import provisioning_inputs
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem, step
from vagrant.host.providers import PROVIDERS, libvirt, virtual_machine
from vagrant.host.providers.libvirt import Libvirt
from vagrant.host.providers.provider import Cost, Provider, distro_wanted, distros
from vagrant.host.state import Choices
from vagrant.host.vagrant_output import Phases

ROOT = Path(__file__).resolve().parents[2]

# `vagrant ssh-config` of Vagrant 2.3.4 with vagrant-libvirt 0.11.2 on Debian 12.
SSH_CONFIG = """Host default
  HostName 192.168.121.57
  User vagrant
  Port 22
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  PasswordAuthentication no
  IdentityFile "/home/a person/shipshape/.vagrant/machines/default/libvirt/private_key"
  IdentitiesOnly yes
  LogLevel FATAL
"""
# `openssl x509 -noout -startdate -enddate`, OpenSSL 3.0.15 on Debian 12.
DATES = "notBefore=Nov 24 04:00:00 2026 GMT\nnotAfter=Nov 24 16:00:00 2026 GMT\n"


@pytest.fixture
def made(tmp_path: Path) -> Machine:
    """A machine in a checkout whose path has a blank in it."""
    checkout = tmp_path / "a checkout"
    (checkout / "vagrant").mkdir(parents=True)
    shutil.copy(ROOT / "vagrant" / "lab.env", checkout / "vagrant" / "lab.env")
    return Machine(checkout, "lab")


# ---- virtualisation ----


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


# ---- this computer ----


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


@pytest.mark.parametrize("family", ["fedora", "arch", "macos", "windows", "other"])
@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_elsewhere_the_exact_commands_are_named(family: str, provider: Provider) -> None:
    system = computer.System(family, family, "1", "This System 1", False)
    problem = tools.instructions(system, ["vagrant"], provider.by_hand(system))
    assert "on This System 1" in problem.sentence
    assert problem.next_steps[-1] == "then run the same command again"
    assert len(problem.next_steps) > 1


def test_a_port_in_use_is_found_and_another_one_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(Problem) as caught:
            preflight.check_port(port)
    assert f"port {port} on 127.0.0.1 is in use" in caught.value.sentence
    assert f"PORT={port + 1}" in caught.value.next_steps[0]
    preflight.check_port(port)  # free again


def test_parts_on_one_disk_are_added_up_before_anything_is_done(tmp_path: Path) -> None:
    free = computer.free_disk(tmp_path)
    part = preflight.Part("half", Cost(0, free * 0.6), tmp_path / "not yet there")
    preflight.check_disk([part])
    with pytest.raises(Problem, match="too little room"):
        preflight.check_disk([part, preflight.Part("other half", Cost(0, free * 0.6), tmp_path)])


def test_too_little_memory_is_said_before_anything_is_done(made: Machine) -> None:
    with pytest.raises(Problem, match="too little memory"):
        preflight.check_memory([preflight.Part("the server", Cost(0, 0), made.checkout, 1e15)], made)


@pytest.mark.skipif(not Path("/usr/lib/apt/apt-helper").exists(), reason="this system has no apt")
def test_an_apt_mirror_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/nowhere";\n'
        'Acquire::http::Proxy "DIRECT";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(Problem) as caught:
        tools.mirror_answers()
    assert "the apt mirror http://127.0.0.1:9/debian" in caught.value.sentence
    assert "apt-get update" in caught.value.next_steps[0]


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
    assert time.monotonic() - before < 3


def test_a_plugin_of_vagrants_own_counts_as_installed(tmp_path: Path) -> None:
    assert not libvirt.has_plugin(tmp_path)
    (tmp_path / "plugins.json").write_text('{"version": "1", "installed": {"vagrant-libvirt": {}}}')
    assert libvirt.has_plugin(tmp_path)


# ---- child processes ----


def test_a_program_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no-such-program is not there"):
        subprocesses.run(["no-such-program"], log=tmp_path / "x.log")


def test_vagrants_lines_are_folded_into_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with Phases("asking Vagrant for the server") as phases:
        for text in (
            "Bringing machine 'lab' up with 'libvirt' provider...",
            "==> lab: Uploading base box image as volume into Libvirt storage...",
            "==> lab: Creating image (snapshot of base box volume).",
            "==> lab: Creating domain with the following settings...",
            "==> lab:  -- Memory:            2048M",
            "==> lab: Starting domain.",
            "==> lab: Waiting for domain to get an IP address...",
            "==> lab: Running provisioner: host-trust (shell)...",
            "    lab: updating certificates",
            "==> lab: Running provisioner: internet (shell)...",
        ):
            phases.see(text)
    shown = [row.split("  ")[2] for row in capsys.readouterr().out.splitlines()]
    assert shown == [
        "asking Vagrant for the server", "fetching the box", "creating the server", "booting the server",
        "provisioning: host trust", "provisioning: internet",
    ]  # fmt: skip


# ---- what is written down ----


def test_of_two_steps_at_once_one_has_the_terminals_last_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with step("the first"), step("the second"):
        pass
    with step("the third"):
        pass
    shown = capsys.readouterr().out
    assert "  ..  the first" in shown and "  ..  the second" not in shown and "  ..  the third" in shown
    assert [f"  ok  the {name}" in shown for name in ("first", "second", "third")] == [True] * 3


def test_vagrants_ssh_config_is_read(made: Machine) -> None:
    found = ssh_config.parse(SSH_CONFIG)
    assert (found["HostName"], found["Port"], found["User"]) == ("192.168.121.57", "22", "vagrant")
    assert found["IdentityFile"] == "/home/a person/shipshape/.vagrant/machines/default/libvirt/private_key"


def test_a_half_ssh_config_is_a_problem() -> None:
    with pytest.raises(Problem, match="does not say how to reach"):
        ssh_config.parse("Host default\n  HostName 1.2.3.4\n")


def test_openssh_reads_the_written_ssh_config_as_it_is_meant(made: Machine) -> None:
    made.folder.mkdir(parents=True)
    made.ssh_config.write_text(ssh_files.text(made, ssh_config.parse(SSH_CONFIG)))
    read: dict[str, dict[str, str]] = {}
    for host in ("server", "internet"):
        shown = subprocess.run(["ssh", "-F", made.ssh_config, "-G", host], capture_output=True, text=True)
        assert shown.returncode == 0, shown.stderr
        read[host] = dict(row.split(" ", 1) for row in shown.stdout.splitlines())
    assert read["server"]["hostname"] == "192.168.121.57"
    assert read["server"]["serveralivecountmax"] == "6"
    assert read["internet"]["hostname"] == "198.51.100.2"
    assert read["internet"]["proxyjump"] == "server"
    for host, options in read.items():
        assert options["hostkeyalias"] == host
        assert options["stricthostkeychecking"] in ("true", "yes")
        assert options["userknownhostsfile"] == str(made.known_hosts)
        assert options["controlmaster"] == "auto"
        # OpenSSH adds 17 characters while it makes the socket; Linux takes 108 in all, macOS 104.
        assert len(options["controlpath"]) + 17 < 104


def test_host_keys_are_those_of_the_console_where_it_can_be_asked(
    made: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.folder.mkdir(parents=True)
    asked: list[str] = []

    def over_the_network(vagrants: dict[str, str]) -> tuple[str, str]:
        asked.append(vagrants["HostName"])
        return "ssh-ed25519 network root@server\n", ""

    monkeypatch.setattr(ssh_files, "ask_for_keys", over_the_network)
    for console, known in (("ssh-ed25519 console root@server\n", "console"), ("", "network")):
        monkeypatch.setattr(Provider, "host_keys", lambda *_, said=console: said)
        ssh_files.fetch_server_keys(made, ssh_config.parse(SSH_CONFIG))
        assert made.known_hosts.read_text() == f"server ssh-ed25519 {known}\n"
    assert asked == ["192.168.121.57"]


def test_labcheck_toml_says_what_labcheck_reads(made: Machine) -> None:
    told = tomllib.loads(labcheck_config.text(made))
    assert told["target"] == {
        "host": "server", "ssh_config": str(made.ssh_config), "domain": "app.lab.example",
        "account": "aiapp", "app_port": 8000,
    }  # fmt: skip
    assert told["vantage"]["reference"] == "ports.lab.example"
    assert told["lab"]["machine"] == "lab"
    assert told["lab"]["marker"] == made.settings["LAB_MARKER"]
    assert told["lab"]["tool"][1] == str(made.checkout / "vagrant" / "lab.py")


def test_choices_come_back_as_they_were_and_broken_ones_not_at_all(made: Machine) -> None:
    chosen = Choices("libvirt", "qemu", "debian12", "shipshape/debian12", "1.0.1")
    made.state.choose(chosen)
    assert made.state.choices() == chosen
    made.state.choices_file.write_text('{"provider": ')
    assert made.state.choices() is None


def test_the_hash_of_provisioning_follows_its_files_and_the_hosts_settings(
    made: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.checkout / "lab_app").mkdir()
    before = provisioning_inputs(made.checkout)
    assert provisioning_inputs(made.checkout) == before
    (made.checkout / "lab_app" / "main.py").write_text("x = 1\n")
    changed = provisioning_inputs(made.checkout)
    assert changed != before
    (made.checkout / "lab_app" / "__pycache__").mkdir()
    (made.checkout / "lab_app" / "__pycache__" / "main.pyc").write_bytes(b"x")
    assert provisioning_inputs(made.checkout) == changed
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert provisioning_inputs(made.checkout) != changed


def test_the_hash_of_provisioning_follows_the_chapters_prose_and_not_their_outputs(made: Machine) -> None:
    chapter = made.checkout / "notebooks" / "01_door.ipynb"
    chapter.parent.mkdir()

    def write(prose: str, output: str) -> str:
        cells = [{"cell_type": "markdown", "source": [prose]}, {"cell_type": "code", "outputs": [output]}]
        chapter.write_text(json.dumps({"cells": cells}))
        return provisioning_inputs(made.checkout)

    first = write("A door.", "open")
    assert write("A door.", "shut") == first
    assert write("Two doors.", "open") != first
    chapter.write_text("{")
    with pytest.raises(Problem, match=r"01_door\.ipynb is no notebook"):
        provisioning_inputs(made.checkout)


def test_the_environment_is_ready_only_while_the_lock_stays_the_same(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("rich==14.0.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    environment = Environment(tmp_path)
    assert not environment.is_ready()
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.stamp.write_text(environment.fingerprint() + "\n")
    assert environment.is_ready()
    (tmp_path / "requirements.lock").write_text("rich==14.0.1\n")
    assert not environment.is_ready()


# ---- the way to a chapter ----

KNOWN = ["00", "01", "02", "03"]


@pytest.mark.parametrize(
    ("chapter", "saved", "way"),
    [
        ("00", ["bare", "after-00"], ("bare", [])),
        ("02", ["bare", "after-00", "after-01", "after-02"], ("after-01", [])),
        ("03", ["bare", "after-00"], ("after-00", ["01", "02"])),
        ("02", ["bare"], ("bare", ["00", "01"])),
        ("01", ["after-00"], ("after-00", [])),
    ],
)
def test_a_chapter_is_reached_from_the_latest_earlier_snapshot(
    chapter: str, saved: list[str], way: tuple[str, list[str]]
) -> None:
    assert chapters.path_to(chapter, KNOWN, saved) == way


def test_without_any_snapshot_there_is_no_way() -> None:
    with pytest.raises(Problem, match="snapshot of the bare server is gone"):
        chapters.path_to("02", KNOWN, ["after-02"])


def test_only_snapshots_of_ours_are_names() -> None:
    text = "==> lab: \nbare\nafter-00\nafter-01\nmine\n"
    assert virtual_machine.parse_snapshots(text) == ["bare", "after-00", "after-01"]


@pytest.fixture
def asked_of_vagrant(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What Vagrant is asked for, which it does not do."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(Machine, "change", lambda _, title, *arguments: asked.append(arguments))
    monkeypatch.setattr(readiness, "after_restore", lambda machine: None)
    return asked


def test_a_chapter_done_again_on_the_finished_server_keeps_its_snapshot(
    made: Machine, asked_of_vagrant: list[tuple[str, ...]]
) -> None:
    assert not snapshots.is_past(made, "after-00"), "of a machine of which nothing is remembered"
    snapshots.save(made, "bare")
    assert not snapshots.is_past(made, "after-00")
    for name in ("after-00", "after-01", "after-02"):
        assert not snapshots.is_past(made, name)
        snapshots.save(made, name)
    past = [snapshots.is_past(made, f"after-0{chapter}") for chapter in range(4)]
    assert past == [True, True, False, False]

    snapshots.restore(made, "after-00")
    assert not snapshots.is_past(made, "after-01"), "the learner went back, and takes another way"
    snapshots.restore(made, "bare")
    assert not snapshots.is_past(made, "after-00")
    assert len(asked_of_vagrant) == 6


def test_where_a_restore_failed_nothing_is_remembered(made: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    made.state.remember("stands-at", "after-09")

    def fails(*_: object) -> None:
        raise Problem("vagrant snapshot restore failed")

    monkeypatch.setattr(Machine, "change", fails)
    monkeypatch.setattr(Libvirt, "saved", lambda provider, machine: ["after-01"])
    with pytest.raises(Problem, match="restore failed"):
        snapshots.restore(made, "after-01")
    assert not snapshots.is_past(made, "after-00")


# What Vagrant 2.3.4 ends with where the lease of an hour ago runs out while the machine boots.
INACCESSIBLE = """The guest machine entered an invalid state while waiting for it
to boot. Valid states are 'running'. The machine is in the
'inaccessible' state. Please verify everything is configured
properly and try again."""


@pytest.mark.parametrize(("said", "tries"), [(INACCESSIBLE, 2), ("There are errors in the Vagrantfile", 1)])
def test_a_lease_that_runs_out_while_the_machine_boots_costs_a_second_try(
    made: Machine, monkeypatch: pytest.MonkeyPatch, said: str, tries: int
) -> None:
    tried = []

    def fails(_: Machine, arguments: list[str]) -> subprocesses.Ended:
        tried.append(arguments)
        return subprocesses.Ended(1, tuple(said.splitlines()))

    monkeypatch.setattr(lifecycle, "vagrant_up", fails)
    with pytest.raises(Problem, match="vagrant up failed"):
        lifecycle.up(made)
    assert len(tried) == tries


@pytest.mark.parametrize(("status", "says"), [(0, "answers"), (124, "no answer within 120 s")])
def test_after_a_boot_the_application_is_waited_for_and_may_be_broken(
    made: Machine, monkeypatch: pytest.MonkeyPatch, status: int, says: str
) -> None:
    asked = []

    def ssh(_: Machine, host: str, command: str, **limits: float) -> subprocess.CompletedProcess[str]:
        asked.append((host, command, limits))
        return subprocess.CompletedProcess([], status, "", "")

    monkeypatch.setattr(Machine, "ssh", ssh)
    assert says in readiness.wait_for_application(made)
    ((host, command, limits),) = asked
    assert host == "server" and "http://127.0.0.1:8000/health/live" in command
    assert limits["limit"] > 120


def test_a_certificate_is_stale_in_its_last_third_and_before_its_life() -> None:
    begin, end = certificates.parse_lifetime(DATES)
    assert end - begin == 12 * 3600
    hour = 3600
    assert not certificates.is_stale(begin, end, begin + 7 * hour)
    assert certificates.is_stale(begin, end, begin + 9 * hour)
    assert certificates.is_stale(begin, end, end + hour)
    assert certificates.is_stale(begin, end, begin - hour)


def test_no_certificate_is_no_lifetime() -> None:
    with pytest.raises(ValueError, match="Could not read certificate"):
        certificates.parse_lifetime("Could not read certificate from <stdin>\n")
