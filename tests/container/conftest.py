"""The server as a container, for the tests of this folder: from inside, and from the host that it runs on."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.vm.conftest import CHECKOUT, internet, server, target
from vagrant.host.machine import Machine
from vagrant.host.providers.docker_daemon import docker

__all__ = ["internet", "server", "target"]


@pytest.fixture(scope="session")
def machine() -> Machine:
    return Machine(CHECKOUT, os.environ["LAB_MACHINE"])


@pytest.fixture(scope="session")
def container(machine: Machine) -> str:
    """Its name in Docker."""
    return machine.full_name()


@pytest.fixture
def address(container: str) -> str:
    """The container's own address in the daemon's network: another one after each start, perhaps."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", form, container).stdout.strip()


def on_the_host(*command: str, timeout: float = 60) -> str:
    """Run a command that has to succeed on this computer; its standard output."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr}"
    return ended.stdout


def taken(container: str) -> int:
    """Bytes on the host for the disk and all snapshots."""
    form = '{{range .Mounts}}{{if eq .Destination "/pool"}}{{.Source}}{{end}}{{end}}'
    volume = docker("inspect", "--format", form, container).stdout.strip()
    return int(on_the_host("du", "--block-size=1", f"{volume}/pool.xfs").split()[0])
