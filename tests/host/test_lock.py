"""One lab.py at a time changes a machine, and one that is interrupted leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.checkout import environment, lab
from tests.host.processes import ends, eventually


@pytest.fixture
def stopping(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """`lab.py stop` while its Vagrant is at work."""
    with subprocess.Popen(
        [sys.executable, "vagrant/lab.py", "stop"], cwd=checkout, env=environment(checkout), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            eventually(checkout / "grandchild")
            yield program
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_ends_its_children_and_says_how_to_go_on(
    checkout: Path, stopping: subprocess.Popen[str], which: signal.Signals
) -> None:
    grandchild = int(eventually(checkout / "grandchild"))
    stopping.send_signal(which)
    output, errors = stopping.communicate(timeout=120)
    assert stopping.returncode == 130
    assert errors.strip() == "lab.py stop: interrupted: run it again, it goes on"
    assert "Traceback" not in output + errors
    assert ends(grandchild)


def test_a_second_program_on_the_same_machine_is_refused(
    checkout: Path, stopping: subprocess.Popen[str]
) -> None:
    second = lab(checkout, "stop")
    assert second.returncode == 1
    assert f"lab.py stop (process {stopping.pid}) is at work on this machine" in second.stderr
    assert "next: wait until it has ended" in second.stderr


def test_lock_of_one_machine_does_not_hold_up_another(
    checkout: Path, stopping: subprocess.Popen[str]
) -> None:
    assert lab(checkout, "stop", LAB_MACHINE="other").returncode == 0


def test_a_lock_does_not_outlive_a_killed_program(checkout: Path, stopping: subprocess.Popen[str]) -> None:
    stopping.kill()
    stopping.wait()
    os.kill(int(eventually(checkout / "grandchild")), signal.SIGKILL)
    (checkout / "bin" / "vagrant").write_text("#!/bin/sh\necho done\n")
    assert lab(checkout, "stop").returncode == 0
