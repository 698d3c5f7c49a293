"""Processes as the kernel shows them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcheck.remote import procfs
from labcheck.remote.procfs import Process
from labcheck.wait import wait_until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    """A process with a name that is longer than the kernel keeps, and a file that it adds to."""
    program = tmp_path / "prometheus-alertmanager"
    program.symlink_to("/bin/sleep")
    environment = {b"WORD": b"caf\xe9", b"EMPTY": b"", b"LINES": b"a=b\nc"}
    with (tmp_path / "log").open("ab") as log:
        command = [str(program), "600"]
        started = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stdin=subprocess.DEVNULL
        )
    process = Process(started.pid)
    # Popen comes back when the files are closed, and the name follows.
    wait_until(lambda: process.program() == program.name, what="its name", timeout=60)
    yield process
    started.kill()
    started.wait()


def test_process_is_reported_with_its_whole_name_its_variables_and_its_files(
    sleeper: Process, tmp_path: Path
) -> None:
    assert (sleeper.name(), sleeper.program()) == ("prometheus-aler", "prometheus-alertmanager")
    assert sleeper.environment() == {"WORD": "caf\udce9", "EMPTY": "", "LINES": "a=b\nc"}
    assert (sleeper.working_folder(), sleeper.uid()) == (tmp_path, os.getuid())
    assert sleeper.status("Uid")[0] == str(os.getuid()) and not sleeper.is_contained()
    assert dict(sleeper.open_files())["1"] == tmp_path / "log"
    assert sleeper.open_flags("1") & os.O_APPEND and not sleeper.open_flags("0") & os.O_APPEND


def test_processes_that_run_are_all_there_in_order(sleeper: Process) -> None:
    pids = [process.pid for process in procfs.processes()]
    assert sleeper.pid in pids and os.getpid() in pids and pids == sorted(pids)


def test_process_that_has_ended_is_gone() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for look in (Process.name, Process.program, Process.environment, Process.working_folder):
        with pytest.raises(procfs.GONE):
            look(Process(ended.pid))
