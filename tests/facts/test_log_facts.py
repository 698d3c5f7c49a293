"""What logs and logrotate are on a real host: with a program that really writes, over a real sshd."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labcheck.facts.logs import log_files
from labcheck.facts.rotation import rotation, starters
from labcheck.gather import gather
from labcheck.ssh import Connection
from tests import needed

# A log that it appends to, one that was rotated and that it leaves alone, one that it goes on writing to
# although it was rotated, and one that it goes on writing to although it was deleted.
WRITER = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
logs = {name: (folder / f"{name}.log").open("a", buffering=1) for name in ("plain", "left", "stuck", "lost")}
for log in logs.values():
    log.write('{"message": "before"}\\n')
for name in ("left", "stuck"):
    os.utime(folder / f"{name}.log", (0, 0))  # long ago: longer than a clock ticks
    (folder / f"{name}.log").rename(folder / f"{name}.log.1")
(folder / "lost.log").unlink()
sys.stdin.readline()
for name in ("plain", "stuck", "lost"):
    logs[name].write('{"message": "after"}\\n')
print("written", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def logrotate() -> None:
    needed.program("logrotate")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[int]:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    while not (tmp_path / "stuck.log.1").exists() or (tmp_path / "lost.log").exists():
        assert process.poll() is None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n"
    yield process.pid
    process.kill()
    process.communicate()


def test_log_files_of_a_running_process_are_seen_by_its_descriptors(
    shared: Connection, writer: int, tmp_path: Path
) -> None:
    observed = gather(shared, [log_files])[log_files]
    held = {Path(one.log).stem: one for one in observed.held if one.pid == writer and one.log}
    assert set(held) == {"plain", "left", "stuck", "lost"}
    assert {name: (one.rotated, one.deleted, one.written_last) for name, one in held.items()} == {
        "plain": (False, False, True),
        "left": (True, False, False),
        "stuck": (True, False, True),
        "lost": (True, True, True),
    }
    plain = str(tmp_path / "plain.log")
    assert observed.lines[plain] == ('{"message": "before"}', '{"message": "after"}')
    assert observed.beside(str(tmp_path / "stuck.log")) == (str(tmp_path / "stuck.log.1"),)
    assert abs(observed.now - tmp_path.stat().st_mtime) < 60


@pytest.mark.usefixtures("logrotate")
def test_logrotate_rules_of_a_real_host_are_read_and_nothing_is_rotated(shared: Connection) -> None:
    state = Path("/var/lib/logrotate/status")
    before = state.stat().st_mtime_ns if state.exists() else None
    assert gather(shared, [rotation])[rotation].rules
    assert (state.stat().st_mtime_ns if state.exists() else None) == before


@pytest.mark.usefixtures("logrotate")
def test_logrotate_starters_of_a_real_host_are_read(shared: Connection) -> None:
    assert all(run.name for run in gather(shared, [starters])[starters])
