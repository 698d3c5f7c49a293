"""How a program travels: with the modules that it imports, in memory, and to an old Python as well."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from labcheck import remote_program
from labcheck.errors import Unreadable
from labcheck.result import Result
from labcheck.ssh import Connection
from tests.sshd import Sshd

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.stem
    for path in (ROOT / "labcheck" / "remote").glob("*.py")
    if re.search(r"(?m)^def main\(", path.read_text(encoding="utf-8"))
)


def run(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What runs it on a server, in a folder where there is nothing else."""
    return subprocess.run(
        [sys.executable, "-IS", "-"], input=source, cwd=folder, env={"TMPDIR": str(folder)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_remote_program_imports_all_that_it_needs_from_memory(name: str, tmp_path: Path) -> None:
    source = remote_program.program(name)
    start = source.rpartition("\nmain(")[0]
    assert start
    asked = "import sys; print(*(it.__file__ for name, it in sys.modules.items() if name[:8] == 'labcheck'))"
    completed = run(f"{start}\n{asked}\n", tmp_path)
    assert (completed.returncode, completed.stderr) == (0, "")
    assert f"labcheck/remote/{name}.py" in completed.stdout.split()
    assert all(path.startswith("labcheck/") for path in completed.stdout.split())
    assert not list(tmp_path.iterdir())


def test_arguments_of_a_remote_program_arrive_as_they_are(tmp_path: Path) -> None:
    asked = {"mark": "'\"\\\n•", "ports": (), "logs": [], "configuration": str(tmp_path)}
    source = remote_program.program("rotate_under_load", asked)
    assert source.isascii()
    assert "TypeError" not in run(source, tmp_path).stderr


def test_a_traceback_names_the_file_and_the_line_of_the_checker(tmp_path: Path) -> None:
    done = run(remote_program.program("rotate_under_load", {"strange": 1}), tmp_path)
    (line,) = re.findall(r'File "labcheck/remote/rotate_under_load.py", line (\d+), in main', done.stderr)
    source = (ROOT / "labcheck" / "remote" / "rotate_under_load.py").read_text(encoding="utf-8")
    assert "rotate_under_load(**asked)" in source.splitlines()[int(line) - 1]


def test_modules_that_are_sent_go_before_those_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "labcheck").mkdir()
    (tmp_path / "labcheck" / "__init__.py").write_text("raise SystemExit('an older labcheck')\n")
    source = remote_program.program("rotate_under_load", {"strange": 1})
    completed = subprocess.run(
        [sys.executable, "-"], input=source, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "an older labcheck" not in completed.stderr and "TypeError" in completed.stderr


def test_remote_programs_run_on_the_python_of_debian_11() -> None:
    vermin = [sys.executable, "-c", "import vermin; vermin.main()"]
    asked = ["--target=3.9-", "--violations", "--no-tips", "labcheck/remote"]
    done = subprocess.run([*vermin, *asked], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_remote_program_runs_as_root_with_sudo_or_without(shared: Connection, sshd: Sshd) -> None:
    for server in (shared, sshd.connection(User="root")):
        ended = remote_program.run_as_root(server, "app_processes", "leaked", 0, "'a'\n")
        assert "KeyError: 0" in ended.stderr  # it has come to looking for this process
        ended = remote_program.run_as_root(server, "app_processes", "tracked")
        assert isinstance(json.loads(remote_program.printed(ended, "the look")), list)


# ---- what it printed ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    count: int
    shares: Mapping[str, float]
    ended: int | None = None


def test_printed_json_becomes_its_dataclass() -> None:
    text = '{"count": 2, "shares": {"a": 1, "b": NaN}, "name": "\\udc80"}'
    seen = remote_program.answer(Result(text, "", 0), Printed, "the look")
    assert (seen.count, seen.shares["a"], seen.ended) == (2, 1.0, None)
    assert seen.shares["b"] != seen.shares["b"]


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (Result('{"shares": {}}', "", 0), "missing required field `count`"),
        (Result('{"count": "2", "shares": {}}', "", 0), r"Expected `int`, got `str` - at `\$.count`"),
        (Result('{"count": 2.5, "shares": {}}', "", 0), "Expected `int`"),
        (Result('{"count": null, "shares": {}}', "", 0), "got `null`"),
        (Result('{"count": 2, "shares": {"a": "1"}}', "", 0), r"at `\$.shares\[...\]`"),
        (Result("[]", "", 0), "Expected `object`, got `array`"),
        (Result('{"count"', "", 0), "the look says is not understood"),
        (Result("", "Traceback\nOSError: it broke", 1), "the look ended with status 1: OSError: it broke"),
        (Result("", "", 127), "python3 is not installed"),
    ],
)
def test_printed_json_of_another_shape_is_unreadable_and_says_where(result: Result, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        remote_program.answer(result, Printed, "the look")
