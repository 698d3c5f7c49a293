"""No other host reaches the server: another host on the network, routed through this one, gets no answer."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from labcheck.ssh import Connection
from tests.vm.conftest import must
from vagrant.host.machine import Machine
from vagrant.host.providers.docker_daemon import docker

from .conftest import on_the_host

pytestmark = pytest.mark.vm

# A network of the test's own: a namespace is the neighbour, and the host forwards whatever it sends.
HOST, NEIGHBOUR = "100.127.253.1", "100.127.253.2"


@pytest.fixture(scope="module")
def neighbour() -> Iterator[str]:
    """A network namespace whose default route is this host, which lets everything from it through."""
    name = f"shipshape-{os.getpid()}"
    inside, outside = "eth0", f"shipshape{os.getpid() % 10000}"
    rules = [["iptables", "-I", "FORWARD", "-i", outside, "-j", "ACCEPT"],
             ["iptables", "-I", "FORWARD", "-o", outside, "-j", "ACCEPT"]]  # fmt: skip
    on_the_host("ip", "netns", "add", name)
    try:
        on_the_host("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        on_the_host("ip", "address", "add", f"{HOST}/30", "dev", outside)
        on_the_host("ip", "link", "set", outside, "up")
        on_the_host("ip", "-n", name, "address", "add", f"{NEIGHBOUR}/30", "dev", inside)
        on_the_host("ip", "-n", name, "link", "set", inside, "up")
        on_the_host("ip", "-n", name, "route", "add", "default", "via", HOST)
        for rule in rules:
            on_the_host(*rule)
        yield name
    finally:
        for rule in rules:
            subprocess.run([*rule[:1], "-D", *rule[2:]], capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        subprocess.run(["ip", "link", "delete", outside], capture_output=True)


def connects(address: str, port: int, *, namespace: str = "") -> bool:
    """Whether a TCP connection is made within 3 s."""
    bash = shutil.which("bash") or "bash"
    place = ["ip", "netns", "exec", namespace] if namespace else []
    command = [*place, "timeout", "3", bash, "-c", f"exec 3<> /dev/tcp/{address}/{port}"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def published(machine: Machine, container: str) -> int:
    """The port on 127.0.0.1 at which this computer reaches the server's sshd."""
    row = docker("port", container, "22/tcp").stdout.strip()
    assert row.startswith("127.0.0.1:"), row
    return int(row.rpartition(":")[2])


def test_the_host_itself_reaches_it(address: str, published: int) -> None:
    """So the test can tell."""
    assert connects("127.0.0.1", published)
    assert connects(address, 22)


def test_the_neighbour_reaches_the_host(neighbour: str) -> None:
    on_the_host("ip", "netns", "exec", neighbour, "bash", "-c", f"exec 3<> /dev/udp/{HOST}/9; echo x >&3")


@pytest.mark.parametrize("port", [22, 80, 8000])
def test_a_neighbour_does_not_reach_the_containers_address(
    server: Connection, neighbour: str, address: str, port: int
) -> None:
    if port == 8000:
        must(server, "systemd-run --user --quiet --collect --unit=open python3 -m http.server 8000")
    assert not connects(address, port, namespace=neighbour)
    if port == 8000:
        assert connects(address, port), "something listens there"
        must(server, "systemctl --user stop open")


def test_a_neighbour_does_not_reach_the_published_port(neighbour: str, published: int) -> None:
    assert not connects(HOST, published, namespace=neighbour)


def test_a_neighbour_gets_no_answer_to_a_udp_packet(server: Connection, neighbour: str, address: str) -> None:
    """One that arrives where nothing listens is counted by the server's kernel, in its own network."""
    count = "awk '$1 == \"Udp:\" && $3 ~ /^[0-9]+$/ { print $3 }' /proc/net/snmp"
    before = int(must(server, count))
    send = f"for i in 1 2 3 4 5; do echo x > /dev/udp/{address}/4000; done"
    on_the_host("ip", "netns", "exec", neighbour, "bash", "-c", send)
    assert int(must(server, count)) == before
    on_the_host("bash", "-c", send)
    assert int(must(server, count)) > before, "those of the host itself arrive: the test can tell"


def test_the_server_reaches_the_outside(server: Connection) -> None:
    """Answers come in: the filter knows a connection of its own from one of a neighbour's."""
    must(server, "sudo apt-get -qq update", timeout=300)
    must(server, "sudo find /var/lib/apt/lists -type f -delete")
