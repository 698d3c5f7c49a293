"""What would stop a run is said before anything is done."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vagrant.host import (
    computer,
    preflight,
)
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem
from vagrant.host.providers.provider import Cost


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
