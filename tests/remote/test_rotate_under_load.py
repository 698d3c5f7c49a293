"""A real logrotate on the logs of a real server that is asked meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labcheck import remote_program
from labcheck.remote import rotate_under_load
from labcheck.remote.rotate_under_load import Outcome
from tests import needed
from tests.remote.time_limits import raised

HERE = Path(__file__).parent
RULE = "rotate 3\n create 0640\n compress\n delaycompress"

Rotate = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def logrotate() -> None:
    needed.program("logrotate")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o750)
    return folder


@pytest.fixture
def rotate(folder: Path, tmp_path: Path) -> Iterator[Rotate]:
    """Start a server that logs in this way, and have the program rotate its logs by this rule."""
    started: list[subprocess.Popen[str]] = []

    def run(way: str, rule: str = RULE, others: str = "", ports: tuple[int, ...] = ()) -> Outcome:
        command = [sys.executable, str(HERE / "logging_server.py"), str(folder), way]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout
        port = int(started[0].stdout.readline())
        rules = tmp_path / "logrotate.conf"
        rules.write_text(f"{folder}/*.log {{\n daily\n {rule}\n}}\n{others}")
        rules.chmod(0o644)
        logs = [str(folder / name) for name in ("app.log", "access.log")]
        asked = {"mark": "m", "ports": list(ports or (port,)), "logs": logs, "configuration": str(rules)}
        program = raised(remote_program.program("rotate_under_load", asked), TIME_LIMIT=240, ANSWER=60)
        completed = subprocess.run(
            [sys.executable, "-IS", "-"], input=program, capture_output=True, text=True, timeout=300
        )
        assert completed.returncode == 0, completed.stderr
        return Outcome(**json.loads(completed.stdout))

    yield run
    for process in started:
        process.kill()
        process.communicate()


def lost(outcome: Outcome) -> dict[str, int]:
    """By log, how many requests are nowhere."""
    asked = {*outcome.before, *outcome.after}
    return {Path(log).name: len(asked - set(ids)) for log, ids in outcome.anywhere.items()}


def in_the_new_file(outcome: Outcome) -> set[str]:
    """The logs whose new file has every request that was sent after the rotation."""
    return {Path(log).name for log, ids in outcome.new.items() if set(outcome.after) <= set(ids)}


@pytest.mark.parametrize("rule", [RULE, "rotate 3\n create\n compress", "rotate 3\n nocreate\n dateext"])
def test_a_server_that_follows_its_files_loses_nothing(rotate: Rotate, folder: Path, rule: str) -> None:
    outcome = rotate("follows", rule)
    assert not outcome.refused and not outcome.failed
    assert len(outcome.before) >= rotate_under_load.ENOUGH and len(outcome.after) >= rotate_under_load.ENOUGH
    assert lost(outcome) == {"app.log": 0, "access.log": 0}
    assert in_the_new_file(outcome) == {"app.log", "access.log"}
    assert len(list(folder.iterdir())) == 4


def test_a_server_that_stays_with_its_file_is_seen_to_write_to_the_old_one(rotate: Rotate) -> None:
    outcome = rotate("stays")
    assert lost(outcome) == {"app.log": 0, "access.log": 0}
    assert in_the_new_file(outcome) == set()


def test_a_server_that_stays_with_its_file_loses_what_comes_after_it_was_packed(rotate: Rotate) -> None:
    assert min(lost(rotate("stays", "rotate 3\n create\n compress")).values()) >= rotate_under_load.ENOUGH


def test_a_line_that_is_in_no_file_is_lost(rotate: Rotate) -> None:
    found = lost(rotate("sluggish"))
    assert found["app.log"] == 0 and found["access.log"] > 0


def test_rotation_is_refused_where_another_log_would_be_rotated_as_well(
    rotate: Rotate, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.log").write_text("due by its size\n")
    outcome = rotate("follows", others=f"{tmp_path}/other.log {{\n size 1\n rotate 1\n}}\n")
    assert "other.log as well" in outcome.refused
    assert sorted(path.name for path in folder.iterdir()) == ["access.log", "app.log"]


def test_a_log_that_was_known_to_logrotate_is_not_touched_where_it_is_another_s(
    rotate: Rotate, tmp_path: Path
) -> None:
    (tmp_path / "other.log").write_text("not due by its age\n")
    outcome = rotate("follows", others=f"{tmp_path}/other.log {{\n daily\n rotate 1\n}}\n")
    assert not outcome.refused and not (tmp_path / "other.log.1").exists()


def test_rotation_is_refused_where_no_server_answers(rotate: Rotate, folder: Path) -> None:
    outcome = rotate("follows", ports=(1,))
    assert outcome.refused == "1/tcp: ConnectionRefusedError"
    assert not list(folder.glob("*.1"))


def test_rotation_that_fails_is_reported(rotate: Rotate) -> None:
    outcome = rotate("follows", "rotate 3\n create\n compress\n compresscmd /nonexistent/gzip")
    assert "failed to compress log" in outcome.failed
