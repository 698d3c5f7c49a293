"""ssh_config and known_hosts, as OpenSSH reads them."""

from __future__ import annotations

import subprocess

import pytest

from vagrant.host import (
    ssh_config,
    ssh_files,
)
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem
from vagrant.host.providers.provider import Provider

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
    addresses: list[str] = []

    def over_the_network(vagrants: dict[str, str]) -> tuple[str, str]:
        addresses.append(vagrants["HostName"])
        return "ssh-ed25519 network root@server\n", ""

    monkeypatch.setattr(ssh_files, "ask_for_keys", over_the_network)
    for console, known in (("ssh-ed25519 console root@server\n", "console"), ("", "network")):
        monkeypatch.setattr(Provider, "host_keys", lambda *_, said=console: said)
        ssh_files.fetch_server_keys(made, ssh_config.parse(SSH_CONFIG))
        assert made.known_hosts.read_text() == f"server ssh-ed25519 {known}\n"
    assert addresses == ["192.168.121.57"]
