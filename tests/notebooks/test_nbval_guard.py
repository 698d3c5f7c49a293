"""The guard around nbval, on small notebooks with real kernels."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tests.notebooks.conftest import Writer, code, prose
from tests.notebooks.nbval_guard import compares

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Run:
    """How each cell ended ("passed", or its message), and how long it all took in seconds."""

    cells: list[str]
    exit_status: int
    seconds: float
    printed: str


def nbval(*arguments: str | Path) -> Run:
    """Run nbval with the guard on these notebooks, as `make test` does."""
    report = (
        next(Path(argument) for argument in arguments if isinstance(argument, Path)).parent / "report.xml"
    )
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--color=no",
            "--nbval",
        ),
        *(
            "-p",
            "nbval.plugin",
            "-p",
            "tests.notebooks.nbval_guard",
            f"--junitxml={report}",
            *map(str, arguments),
        ),
    ]
    # No other plug-ins: they take longer to load than a small notebook to run.
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    began = time.monotonic()
    ended = subprocess.run(
        command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=120, check=False
    )
    seconds = time.monotonic() - began
    cells = []
    for case in ElementTree.parse(report).iter("testcase"):
        assert case.find("skipped") is None, "skipped is not failed"
        failure = case.find("failure")
        cells.append("passed" if failure is None else (failure.text or ""))
    return Run(cells, ended.returncode, seconds, ended.stdout)


def test_a_cell_that_kills_its_kernel_fails_at_once_and_the_rest_is_not_run(write_notebook: Writer) -> None:
    path = write_notebook(
        "01_dies.ipynb",
        [
            prose("# One"),
            code("print('fine')", "look", printed="fine\n"),
            code("import os\nos._exit(3)", "do"),
            code("1", "do"),
        ],
    )

    run = nbval(path)

    assert run.cells[0] == "passed"
    assert "the kernel died" in run.cells[1]
    assert run.cells[2].startswith("not run: 01_dies.ipynb, cell 1 (id ")
    assert len(run.cells) == 3
    assert run.exit_status == 1
    assert run.seconds < 300


def test_a_cell_beyond_its_time_fails_and_no_later_chapter_runs(
    write_notebook: Writer, tmp_path: Path
) -> None:
    slow = code("import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    pass", "do")
    first = write_notebook("01_slow.ipynb", [slow, code("1", "do")])
    second = write_notebook("02_next.ipynb", [code("open('it ran', 'w').close()", "do")])

    run = nbval("--nbval-cell-timeout=2", first, second)

    assert "Timeout of 2 seconds exceeded" in run.cells[0]
    assert [cell.startswith("not run: 01_slow.ipynb, cell 0 ") for cell in run.cells[1:]] == [True, True]
    assert not (tmp_path / "it ran").exists()
    assert run.seconds < 300


def test_a_cell_that_was_never_executed_fails_without_being_run(
    write_notebook: Writer, tmp_path: Path
) -> None:
    path = write_notebook("01_new.ipynb", [code("open('it ran', 'w').close()", "do", count=None)])

    run = nbval(path)

    assert "This cell was never executed" in run.cells[0]
    assert not (tmp_path / "it ran").exists()


def test_a_different_output_fails_the_first_run_but_for_pictures(write_notebook: Writer) -> None:
    path = write_notebook(
        "01_differs.ipynb",
        [
            code("print('new')", "look", "picture", printed="old\n"),
            code("print('new')", "look", printed="old\n"),
            code("1", "do"),
        ],
    )

    run = nbval(path)

    assert run.cells[0] == "passed"
    assert "Cell outputs differ" in run.cells[1]
    assert run.cells[2].startswith("not run")


def test_a_line_of_progress_that_was_taken_back_is_not_compared(write_notebook: Writer) -> None:
    progress = (
        "from IPython.display import clear_output\nfor word in ('one', 'two'):\n"
        "    print(word, flush=True)\n    clear_output(wait=True)\nprint('result')"
    )
    path = write_notebook(
        "01_progress.ipynb",
        [code(progress, "look", printed="result\n"), code(progress, "look", printed="other\n")],
    )

    run = nbval(path)

    assert run.cells[0] == "passed", run.printed
    assert "Cell outputs differ" in run.cells[1]


def test_all_differences_can_be_seen_at_once(write_notebook: Writer) -> None:
    path = write_notebook(
        "01_differs.ipynb",
        [code("print('new')", "do", printed="old\n"), code("print('b')", "do", printed="a\n"), code("1 / 0")],
    )

    run = nbval("--lab-keep-going", path)

    assert ["Cell outputs differ" in cell for cell in run.cells] == [True, True, False]
    assert "ZeroDivisionError" in run.cells[2]


def test_checks_of_the_second_run_pass_in_other_words_and_must_pass(write_notebook: Writer) -> None:
    green = "  6  PASS  Firewall    22, 80 answer\n"
    path = write_notebook(
        "01_again.ipynb",
        [
            code("print('already there')", "do", printed="made\n"),
            code("print('open')", "look", printed="closed\n"),
            code("print('  6  PASS  Firewall    22, 80, 443 answer')", "check", printed=green),
            code("print('  6  FAIL  Firewall    8000 answers')", "check", printed=green),
            code("1", "do"),
        ],
    )

    run = nbval("--lab-run=again", path)

    assert run.cells[:3] == ["passed"] * 3
    assert "expected items 6, all PASS; saw 6 FAIL" in run.cells[3]
    assert run.cells[4].startswith("not run")


def test_the_steps_alone_leave_out_what_looks_checks_or_breaks(write_notebook: Writer) -> None:
    path = write_notebook(
        "01_steps.ipynb",
        [
            code("steps = []", "setup"),
            code("1 / 0", "break"),
            code("steps.append('done')", "do"),
            code("1 / 0", "look"),
            code("1 / 0", "check", printed="  6  PASS  Firewall\n"),
            code("assert steps == ['done']", "do"),
        ],
    )

    run = nbval("--lab-run=steps", path)

    assert run.cells == ["passed"] * 3, run.printed
    assert run.exit_status == 0


def test_comparison_follows_from_the_tags_and_the_run() -> None:
    tags = ("setup", "do", "look", "check", "break", "solution", "picture")
    assert [compares({tag}, "first") for tag in tags] == ["text"] * 6 + ["nothing"]
    assert [compares({tag}, "again") for tag in tags] == [
        "text",
        *["nothing"] * 2,
        "verdicts",
        *["nothing"] * 3,
    ]


def test_every_exception_from_comparison_has_its_reason() -> None:
    lines = (ROOT / "tests" / "notebooks" / "sanitize.cfg").read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith("regex:"):
            assert before.startswith("# "), f"no reason above {line!r}"
        elif line.startswith("replace:"):
            assert before.startswith("regex:"), f"no regex above {line!r}"
        else:
            assert line.startswith("#") or not line.strip(), f"{line!r} is no entry"
