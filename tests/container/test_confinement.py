"""What the server's root cannot do to the host, tried as that root; what it can do, the README names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labcheck.errors import Unreachable
from labcheck.ssh import Connection
from labcheck.wait import NotYet, wait_until
from tests.vm.conftest import CHECKOUT, must
from vagrant.host.machine import Machine
from vagrant.host.providers.docker_daemon import docker

from .conftest import taken

pytestmark = pytest.mark.vm

REFUSED = r"Operation not permitted|[Pp]ermission denied|Read-only file system|No such (file|device)"


def refused(server: Connection, command: str) -> None:
    """The command fails, and because it is refused."""
    said = server.run(f"sudo -n bash -c '{command}'", timeout=60)
    assert said.exit_status != 0, f"it was done: {command}: {said.stdout}"
    assert re.search(REFUSED, said.stdout + said.stderr), said.stdout + said.stderr


def disks() -> list[str]:
    """The host's block devices but loop devices, as `8 0`."""
    found = [path for path in Path("/sys/block").iterdir() if not path.name.startswith("loop")]
    return [(path / "dev").read_text(encoding="ascii").strip().replace(":", " ") for path in found]


def test_the_hosts_disks_cannot_be_opened(server: Connection) -> None:
    assert disks(), "this computer has a disk"
    for number in disks():
        refused(
            server, f"rm -f /tmp/disk; mknod /tmp/disk b {number} && dd if=/tmp/disk of=/dev/null count=1"
        )
    must(server, "sudo rm -f /tmp/disk")


def test_the_keys_that_ssh_knows_are_those_that_the_console_shows(machine: Machine) -> None:
    shown = {" ".join(line.split()[:2]) for line in machine.provider.host_keys(machine).splitlines()}
    known = re.findall(r"(?m)^server (.+)$", machine.known_hosts.read_text(encoding="utf-8"))
    assert shown and shown == set(known)


def test_memory_and_kernel_devices_cannot_be_opened(server: Connection) -> None:
    for name, number in (("mem", "1 1"), ("port", "1 4"), ("kmsg", "1 11"), ("cpu", "202 0")):
        refused(
            server, f"rm -f /tmp/{name}; mknod /tmp/{name} c {number} && head -c1 /tmp/{name} > /dev/null"
        )
        must(server, f"sudo rm -f /tmp/{name}")


def test_swap_cannot_be_added(server: Connection) -> None:
    """It would be the host's: the kernel has one list for all."""
    must(server, "sudo fallocate -l 16M /swap && sudo chmod 600 /swap && sudo mkswap /swap")
    refused(server, "swapon /swap")
    must(server, "sudo rm /swap")


@pytest.mark.parametrize("setting", ["vm.swappiness", "vm.drop_caches", "kernel.randomize_va_space",
                                     "kernel.core_pattern", "fs.file-max"])  # fmt: skip
def test_the_hosts_kernel_settings_stay(server: Connection, setting: str) -> None:
    path = Path("/proc/sys") / setting.replace(".", "/")
    before = path.read_text(encoding="ascii") if setting != "vm.drop_caches" else ""
    refused(server, f"sysctl -w {setting}=1")
    refused(server, f"echo 1 > {path}")
    if before:
        assert path.read_text(encoding="ascii") == before


def test_container_can_set_its_own_networks_settings(server: Connection) -> None:
    must(server, "sudo sysctl -w net.ipv4.conf.all.log_martians=1")
    assert Path("/proc/sys/net/ipv4/conf/all/log_martians").read_text(encoding="ascii") == "0\n"


def test_sysrq_and_power_cannot_be_reached(server: Connection) -> None:
    kinds = must(server, "stat -c %F /proc/sysrq-trigger /proc/kcore 2>&1 || test $? = 1").splitlines()
    assert all(kind == "character special file" or "No such file" in kind for kind in kinds), kinds
    refused(server, "echo mem > /sys/power/state")


def test_kernel_log_is_not_readable_or_the_readme_says_so(server: Connection) -> None:
    """Older kernels tell it to a process with CAP_SYS_ADMIN: seen with 6.1, and refused by 6.18."""
    if server.run("sudo -n dmesg", timeout=60).exit_status == 0:
        assert "read the kernel's log" in not_separated()
    else:
        refused(server, "dmesg")


def test_kernel_modules_and_the_clock_are_the_hosts(server: Connection) -> None:
    refused(server, "date --set=@0")
    load = "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall(CALL, 0, 0, 0)\n"
    call = "175 if os.uname().machine == 'x86_64' else 105"  # init_module
    result = server.run(
        "sudo -n python3 -", stdin=load.replace("CALL", call) + "print(os.strerror(ctypes.get_errno()))"
    )
    assert result.stdout == "Operation not permitted\n"


def test_the_daemons_seccomp_profile_is_in_force(server: Connection) -> None:
    assert must(server, "awk '/^Seccomp:/ { print $2 }' /proc/1/status").strip() == "2"


def test_container_has_the_capabilities_that_are_named_and_no_other(
    server: Connection, container: str
) -> None:
    named = {
        row.partition("=")[2]
        for row in (CHECKOUT / "vagrant" / "container" / "privileges").read_text("utf-8").splitlines()
        if row.startswith("--cap-add=")
    }
    bounding = must(server, "sudo capsh --decode=$(awk '/^CapBnd:/ { print $2 }' /proc/1/status)")
    held = {name.removeprefix("cap_").upper() for name in bounding.strip().partition("=")[2].split(",")}
    assert held == named
    assert docker("inspect", "--format", "{{.HostConfig.Privileged}}", container).stdout.strip() == "false"


def not_separated() -> str:
    """The README's paragraph on what a container does not separate."""
    found = re.search(r"(?ms)^[^\n]*does not separate.*?\n\n", (CHECKOUT / "README.md").read_text("utf-8"))
    assert found, "README.md has no such paragraph"
    return found[0]


def test_readme_has_what_a_container_does_not_separate() -> None:
    """The loop devices are one range for the whole kernel: the paragraph has to name what can be done."""
    assert not [word for word in ("kernel", "loop device", "CAP_SYS_ADMIN") if word not in not_separated()]


# ---- a server to break: the host does not notice ----


def test_a_full_disk_is_the_servers_and_what_is_freed_goes_back(server: Connection, container: str) -> None:
    size = int(must(server, "df --output=size -B1 / | tail -1"))
    assert 11e9 < size < 13e9, "12 GB less what ext4 keeps for itself"
    before = taken(container)
    try:
        must(server, "sudo dd if=/dev/urandom of=/written bs=4M count=100 conv=fsync", timeout=300)
        must(server, "sudo fallocate -l $(df --output=avail -B1 / | tail -1) /full")
        filled = server.run("dd if=/dev/zero of=/tmp/more bs=1M count=4", timeout=60)
        assert "No space left on device" in filled.stderr
        wait_until(lambda: taken(container) - before > 300e6, what="what was written to arrive", timeout=60)
        assert taken(container) - before < 1e9, "what was only promised takes no room on the host"
    finally:
        must(server, "sudo rm -f /written /full /tmp/more && sync")
    wait_until(lambda: taken(container) - before < 200e6, what="the room to come back", timeout=120)


def test_a_fork_bomb_ends_at_its_limit(server: Connection) -> None:
    bomb = (
        "import os, signal, time\n"
        "children = []\n"
        "try:\n"
        "    while True:\n        children.append(os.fork() or (time.sleep(60), os._exit(0)))\n"
        "except BlockingIOError:\n    print('refused')\n"
        "for child in children:\n    os.kill(child, signal.SIGKILL)\n"
    )
    said = server.run("sudo -n python3 -", stdin=bomb, timeout=120)
    assert "refused" in said.stdout, said.stdout + said.stderr
    wait_until(lambda: server.run("true").exit_status == 0, what="the server to answer", timeout=60)


def test_a_process_that_takes_all_memory_is_killed_and_the_server_lives(server: Connection) -> None:
    hog = "sudo systemd-run --quiet --unit=hog python3 -c 'len(b\"x\" * (4 << 30))'"
    must(server, hog)

    def is_killed() -> bool:
        try:
            said = server.run("systemctl show hog --property=Result", timeout=15).stdout.strip()
            return said in ("Result=oom-kill", "Result=signal")  # systemd knows why where it counts memory
        except Unreachable as reason:
            raise NotYet(str(reason)) from None

    wait_until(is_killed, what="the kernel to kill it", timeout=120)
    must(server, "sudo systemctl reset-failed hog && systemctl is-system-running")


def test_shut_down_from_inside_it_is_back(server: Connection, machine: Machine) -> None:
    """As a hosted server with a watchdog would be: the daemon starts it again."""
    started = "stat -c %Y /run/systemd/system"
    before = must(server, started)
    must(server, "sudo -n systemd-run --quiet --on-active=1 shutdown now")

    def is_another_boot() -> bool:
        machine.hang_up()
        try:
            booted = server.run(started, timeout=15)
        except Unreachable as reason:
            raise NotYet(str(reason)) from None
        return booted.exit_status == 0 and booted.stdout != before

    wait_until(is_another_boot, what="the server to boot", timeout=120)
    machine.wait_for("internet")
