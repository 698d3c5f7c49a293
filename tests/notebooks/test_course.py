"""`python -m labkit.course` on small notebooks with real kernels."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit import course
from tests.notebooks.conftest import Writer, code, prose


def kernels_of(process: int) -> list[int]:
    """The kernels that `process` started: their environment says so."""
    kernels = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # It ended while we looked, which is what is asked here.
        if b"ipykernel_launcher" in command and f"JPY_PARENT_PID={process}\0".encode() in environment + b"\0":
            kernels.append(int(folder.name))
    return kernels


def test_a_line_tells_each_section_and_its_time(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(
        "01_first.ipynb",
        [prose("# 1 · First"), code("x = 1"), prose("## The [first] door"), code("print(x)"), code("x + 1")],
    )

    assert course.main(["1"], folder=tmp_path) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "01  1 · First"
    assert re.fullmatch(r"    ok +\d+ s  Start", lines[1])
    assert re.fullmatch(r"    ok +\d+ s  The \[first\] door", lines[2])


def test_the_steps_alone_leave_out_what_looks_checks_or_breaks(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        code("steps = []", "setup"),
        prose("## Only a look"),
        code("1 / 0", "look"),
        prose("## A step"),
        code("1 / 0", "break"),
        code("steps.append('done')", "do"),
        code("1 / 0", "check"),
        code("assert steps == ['done']", "do"),
    ]
    path = write_notebook("01_first.ipynb", [prose("# First"), *cells])
    before = path.read_bytes()

    assert course.main(["--steps", "1"], folder=tmp_path) == 0

    titles = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert titles == ["Start", "A step"] and path.read_bytes() == before


def test_the_outputs_of_the_steps_alone_are_no_chapter_to_save(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook("01_first.ipynb", [prose("# First"), code("1")])
    with pytest.raises(SystemExit) as ended:
        course.main(["--steps", "--save", "1"], folder=tmp_path)
    assert ended.value.code == course.USAGE and "not allowed with" in capsys.readouterr().err


def test_files_are_untouched_without_save(write_notebook: Writer, tmp_path: Path) -> None:
    path = write_notebook("01_first.ipynb", [prose("# First"), code("print(1)", count=None)])
    before = path.read_bytes()

    course.main(["01"], folder=tmp_path)

    assert path.read_bytes() == before


def test_saved_twice_a_file_is_the_same_and_minimal(write_notebook: Writer, tmp_path: Path) -> None:
    cells = [
        prose("# First"),
        code("import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')", "look", count=None),
        code("1 / 0", "look", "raises-exception", count=None),
        code("6 * 7", "look", count=None),
    ]
    cells[1].metadata.execution = {"iopub.execute_input": "2024-01-01T00:00:00Z"}
    cells[1].metadata.jupyter = {"source_hidden": True}
    path = write_notebook("01_first.ipynb", cells)

    assert course.main(["--save"], folder=tmp_path) == 0
    once = path.read_bytes()
    assert course.main(["--save"], folder=tmp_path) == 0

    assert path.read_bytes() == once
    saved = json.loads(once)
    assert saved["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell["id"] for cell in saved["cells"]] == [cell.id for cell in cells]
    assert saved["cells"][1]["metadata"] == {"jupyter": {"source_hidden": True}, "tags": ["look"]}
    assert [cell["execution_count"] for cell in saved["cells"][1:]] == [1, 2, 3]
    assert saved["cells"][2]["outputs"][0]["traceback"] == ["ZeroDivisionError: division by zero"]
    assert saved["cells"][3]["outputs"][0]["data"] == {"text/plain": ["42"]}
    assert once.endswith(b"}\n")
    assert not list(tmp_path.glob("*.new"))


def test_the_first_failing_cell_ends_the_run_and_is_shown(
    write_notebook: Writer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "labcheck.toml"
    config.write_text('[lab]\ntool = ["python3", "the tool"]\n')
    monkeypatch.setenv("LABCHECK_CONFIG", str(config))
    write_notebook(
        "01_first.ipynb",
        [
            prose("# First"),
            prose("## Door"),
            code("print('seen')\nraise ValueError('no')", "do"),
            code("print('after')"),
        ],
    )
    second = write_notebook("02_second.ipynb", [prose("# Second"), code("print('second')", count=None)])
    before = second.read_bytes()

    assert course.main(["--save"], folder=tmp_path) == 1

    printed = capsys.readouterr().out
    assert '"Door", code cell 1 of 2 (do; id ' in printed
    assert "      | raise ValueError('no')\n" in printed
    assert "      | seen\n      | ValueError: no\n" in printed
    assert "python3 'the tool' goto 01\n" in printed
    assert "python3 'the tool' course 01 02\n" in printed
    assert "Second" not in printed
    assert second.read_bytes() == before


def test_a_kernel_that_dies_ends_the_run_at_once(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook("01_first.ipynb", [prose("# First"), code("import os\nos._exit(3)"), code("1")])
    began = time.monotonic()

    assert course.main([], folder=tmp_path) == 1

    assert time.monotonic() - began < 300
    assert "code cell 1 of 2 (no tag; id " in (printed := capsys.readouterr().out)
    assert "ended its own kernel" in printed


def test_a_cell_beyond_its_time_may_put_back_what_it_changed(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "import time, pathlib\ntry:\n    time.sleep(600)\nfinally:\n    pathlib.Path('back').touch()"
    write_notebook("01_first.ipynb", [prose("# First"), code(source)])

    assert course.main(["--timeout", "2"], folder=tmp_path) == 1

    assert "still running after 2 s" in capsys.readouterr().out
    assert (tmp_path / "back").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_interrupted_it_puts_back_and_leaves_no_kernel(
    number: signal.Signals, write_notebook: Writer, tmp_path: Path
) -> None:
    source = (
        "import time, pathlib\npathlib.Path('started').touch()\n"
        "try:\n    time.sleep(600)\nfinally:\n    pathlib.Path('back').touch()"
    )
    write_notebook("01_first.ipynb", [prose("# First"), code(source)])
    program = (
        "import sys, pathlib; from labkit import course; "
        "sys.exit(course.main([], folder=pathlib.Path(sys.argv[1])))"
    )
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "started").exists())
    assert kernels_of(run.pid)

    os.kill(run.pid, number)
    _, complaint = run.communicate(timeout=120)

    assert run.returncode == 130
    assert complaint.strip() == "stopped; the kernel is ended, the server is as the last cell left it"
    assert (tmp_path / "back").exists()
    assert not kernels_of(run.pid)


def test_an_unknown_chapter_is_wrong_usage(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook("01_first.ipynb", [prose("# First")])

    assert course.main(["7"], folder=tmp_path) == 64

    assert "there is no chapter 07; there are: 01" in capsys.readouterr().err


def wait_for(condition: object, seconds: float = 120) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
