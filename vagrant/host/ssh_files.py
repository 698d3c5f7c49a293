"""The files by which OpenSSH knows a machine: ssh_config, and known_hosts with keys that were verified."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping

from . import failures, ssh_config, subprocesses
from .machine import Machine
from .progress import Problem, step


def write(machine: Machine) -> None:
    """Write both from what Vagrant says, and wait for both hosts to answer. Raises Problem."""
    machine.hang_up()
    with step("reading the server's address and host keys") as current:
        ended = machine.vagrant("ssh-config", step=current)
        if ended.status != 0:
            raise failures.failure("vagrant ssh-config", ended, machine.log)
        vagrants = ssh_config.parse(ended.text)
        if machine.state.recall("identity") != machine.identity():
            machine.known_hosts.unlink(missing_ok=True)  # another machine has other keys
        if not machine.known_hosts.exists():
            fetch_server_keys(machine, vagrants)
        machine.ssh_config.write_text(text(machine, vagrants), encoding="utf-8")
        machine.ssh_config.chmod(0o600)
        machine.wait_for("server")
        fetch_internet_keys(machine)
        machine.wait_for("internet")


def text(machine: Machine, vagrants: Mapping[str, str]) -> str:
    """The machine's ssh_config; `vagrants`: how Vagrant reaches it."""
    return ssh_config.written(
        vagrants,
        folder=machine.folder,
        known_hosts=machine.known_hosts,
        internet=machine.settings["LAB_INTERNET_IPV4"],
    )


def fetch_server_keys(machine: Machine, vagrants: Mapping[str, str]) -> None:
    """Take the server's host keys from its console, where there is one that can be asked.

    Else over Vagrant's own channel, which ends in this computer: the one moment without a known key.
    """
    printed, problem = machine.provider.host_keys(machine), ""
    if not printed:
        printed, problem = ask_for_keys(vagrants)
    keys = [" ".join(row.split()[:2]) for row in printed.splitlines() if row.startswith(("ssh-", "ecdsa-"))]
    if not keys:
        raise Problem(
            f"the server's host keys could not be read: {problem or 'it gave none'}",
            "run the same command again",
        )
    machine.known_hosts.write_text("".join(f"server {key}\n" for key in keys), encoding="utf-8")


def ask_for_keys(vagrants: Mapping[str, str]) -> tuple[str, str]:
    """What the server says its host keys are, and what went wrong."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={os.devnull}",
               "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
               "-o", "ConnectTimeout=20", "-i", vagrants["IdentityFile"], "-p", vagrants["Port"]]  # fmt: skip
    address = f"{vagrants['User']}@{vagrants['HostName']}"
    command = ["ssh", "-F", os.devnull, *options, address, "cat /etc/ssh/ssh_host_*_key.pub"]
    answer = subprocesses.quick(command, limit=60)
    return answer.stdout, answer.stderr.strip()


def fetch_internet_keys(machine: Machine) -> None:
    """Take the keys of the stand-in internet's sshd on the server, over its verified connection."""
    if re.search(r"^internet ", machine.known_hosts.read_text(encoding="utf-8"), re.M):
        return
    address = machine.settings["LAB_INTERNET_IPV4"]
    deadline = time.monotonic() + 120
    while True:
        answer = machine.ssh("server", f"ssh-keyscan -T 5 -t ed25519,ecdsa,rsa {address}", limit=30)
        keys = re.findall(rf"^{re.escape(address)} (\S+ \S+)$", answer.stdout, re.M)
        if keys:
            break
        if time.monotonic() > deadline:
            raise Problem(
                "the stand-in internet does not answer to SSH",
                "look at it: make ssh, then: sudo machinectl status internet",
            )
        time.sleep(1)
    with machine.known_hosts.open("a", encoding="utf-8") as file:
        file.writelines(f"internet {key}\n" for key in keys)
