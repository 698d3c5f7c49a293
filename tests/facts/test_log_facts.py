"""What items 4 and 5 ask a host, asked of a real one: with programs that really write, over a real sshd."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcheck.checks.item_04_logs import lines_with
from labcheck.checks.item_05_rotation import a_rotation_under_load_loses_nothing
from labcheck.checks.logs import NEEDS, seen_in
from labcheck.checks.model import Context, Target
from labcheck.errors import Unreadable
from labcheck.facts.logs import log_files
from labcheck.facts.rotation import rotation, starters
from labcheck.gather import gather
from labcheck.ssh import Connection
from tests import needed

SERVER = Path(__file__).parents[1] / "remote" / "logging_server.py"

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


def test_what_a_running_process_writes_to_is_seen_by_its_descriptors(
    shared: Connection, writer: int, tmp_path: Path
) -> None:
    seen = gather(shared, [log_files])[log_files]
    held = {Path(one.log).stem: one for one in seen.held if one.pid == writer and one.log}
    assert set(held) == {"plain", "left", "stuck", "lost"}
    assert {name: (one.rotated, one.deleted, one.written_last) for name, one in held.items()} == {
        "plain": (False, False, True),
        "left": (True, False, False),
        "stuck": (True, False, True),
        "lost": (True, True, True),
    }
    plain = str(tmp_path / "plain.log")
    assert seen.lines[plain] == ('{"message": "before"}', '{"message": "after"}')
    assert seen.beside(str(tmp_path / "stuck.log")) == (str(tmp_path / "stuck.log.1"),)
    assert abs(seen.now - tmp_path.stat().st_mtime) < 60


def test_lines_with_an_id_are_found_in_each_log_and_no_others(shared: Connection, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("app.log", "access.log")]
    rows = [{"request_id": "m-1"}, {"request_id": "m-12"}, {"request_id": "x", "path": "/m-1"}]
    Path(paths[0]).write_text("".join(json.dumps(row) + "\n" for row in rows) + "m-1 is no JSON\n")
    Path(paths[1]).write_text("")
    assert lines_with(shared, ["m-1", "m-2"], paths) == {paths[0]: [rows[0]], paths[1]: []}


def test_a_log_that_cannot_be_searched_is_unreadable(shared: Connection, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        lines_with(shared, ["m-1"], [str(tmp_path / "absent.log")])


@pytest.mark.usefixtures("logrotate")
def test_what_logrotate_would_do_here_is_read_and_nothing_is_done(shared: Connection) -> None:
    state = Path("/var/lib/logrotate/status")
    before = state.stat().st_mtime_ns if state.exists() else None
    assert gather(shared, [rotation])[rotation].rules
    assert (state.stat().st_mtime_ns if state.exists() else None) == before


@pytest.mark.usefixtures("logrotate")
def test_what_starts_logrotate_here_is_read(shared: Connection) -> None:
    assert all(run.name for run in gather(shared, [starters])[starters])


@pytest.fixture
def logging_server(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    started: list[subprocess.Popen[str]] = []

    def start(way: str) -> int:
        command = [sys.executable, str(SERVER), str(tmp_path), way]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout
        return int(started[0].stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("logrotate")
def test_where_no_rule_is_for_its_logs_the_exercise_rotates_nothing_and_says_so(
    shared: Connection, logging_server: Callable[[str], int], tmp_path: Path
) -> None:
    target = Target("server", "app.example", app_port=logging_server("follows"))
    found = seen_in(gather(shared, list(NEEDS.values())), target)
    assert [log.path for log in found.logs] == [str(tmp_path / name) for name in ("app.log", "access.log")]
    with pytest.raises(Unreadable, match="logrotate would rotate none of them"):
        list(a_rotation_under_load_loses_nothing(shared, Context(target, shared)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "app.log"]
