"""The stages of `make test`, without a machine: their order and how each is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.notebooks.conftest import Writer, code, prose, write_notebook
from vagrant.host import chapters, subprocesses, test_fast, test_run, test_stages
from vagrant.host.progress import Problem
from vagrant.host.providers import PROVIDERS
from vagrant.host.test_reports import StageResult
from vagrant.host.test_stages import Stage

__all__ = ["write_notebook"]

ROOT = Path(__file__).resolve().parents[2]
FINISHED = f"after-{chapters.DEPLOYED}"


def ran(logs: Path, *arguments: str | Path) -> StageResult:
    """A stage as `make test` runs it, on what is given instead of the course."""
    stage = Stage("9-try", "a try", tuple(map(str, arguments)), start="bare")
    return test_run.run(stage, ROOT, [sys.executable], {"SAID": "to the children"}, logs)


def test_every_test_that_needs_the_machine_is_in_a_stage() -> None:
    kinds = [path for provider in PROVIDERS for path in provider.tests]
    arguments = {
        part for stage in test_stages.stages(ROOT, every=False, kind=kinds) for part in stage.arguments
    }
    needing = [path for path in (ROOT / "tests").rglob("test_*.py") if "mark.vm" in path.read_text("utf-8")]
    inside = [path.relative_to(ROOT) for path in needing if path != Path(__file__)]
    assert len(inside) > 5
    assert [
        str(path) for path in inside if not arguments & {str(each) for each in (path, *path.parents)}
    ] == []
    assert {f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")} <= arguments


def test_the_chapters_run_on_a_bare_server_and_make_what_the_others_start_from() -> None:
    stages = test_stages.stages(ROOT, every=False)
    deploying, following = (stage for stage in stages if stage.makes)
    assert deploying.afresh and deploying.start == "bare" and deploying.makes == following.start == FINISHED
    assert {stage.start for stage in stages[stages.index(deploying) + 1 :]} == {FINISHED}
    assert "steps" not in [stage.name for stage in test_stages.chosen(stages, [])]
    compared = [
        Path(part).name for stage in (deploying, following) for part in stage.arguments if "ipynb" in part
    ]
    assert compared == [path.name for path in chapters.files(ROOT)]
    assert not any(part.startswith("--lab-run") for part in (*deploying.arguments, *following.arguments))


def test_the_steps_alone_make_the_finished_server_where_several_work_side_by_side() -> None:
    stages = test_stages.stages(ROOT, every=False, by_steps=True)
    steps, compared = (stage for stage in stages if stage.makes == FINISHED)
    assert steps.name == "steps" and "--lab-run=steps" in steps.arguments and steps.start == "bare"
    notebooks = [[part for part in stage.arguments if "ipynb" in part] for stage in (steps, compared)]
    assert notebooks[0] == notebooks[1] and steps.server != compared.server
    alone = [stage for stage in stages if stage.server == compared.server and not stage.spare]
    assert [stage.name for stage in alone] == ["chapters-1"]  # the longest of all: nothing comes after it
    off = next(stage for stage in stages if stage.own)
    assert off.server == steps.server  # whose snapshot it starts from
    names = [stage.name for stage in test_stages.chosen(stages, ["finished"], ["bare"])]
    assert names == ["steps", "finished"]
    assert [stage.name for stage in test_stages.chosen(stages, [])] == [
        stage.name for stage in stages if stage.name != "rebooted"
    ]


def test_a_part_alone_begins_with_what_makes_its_server_unless_there_is_one() -> None:
    stages = test_stages.stages(ROOT, every=True)

    def names(*wanted: str, saved: tuple[str, ...]) -> list[str]:
        return [stage.name for stage in test_stages.chosen(stages, wanted, saved)]

    assert names(saved=()) == [stage.name for stage in stages if stage.name != "steps"]
    assert names("mutants", saved=("bare",)) == ["chapters-1", "mutants-1", "mutants-2", "mutants-3"]
    assert names("off", "mutants", saved=("bare", FINISHED)) == ["mutants-1", "mutants-2", "mutants-3", "off"]
    assert names("chapters", saved=("bare",)) == ["chapters-1", "chapters-2"]
    assert names("bare", saved=("bare",)) == ["bare"]
    with pytest.raises(Problem, match="no part mutant") as mistyped:
        names("mutant", saved=())
    assert "mutants" in mistyped.value.next_steps[0]


def test_the_second_run_is_left_out_on_an_emulated_machine_unless_it_is_asked_for() -> None:
    def again(*names: str, every: bool = False, emulated: bool = True) -> bool:
        chosen = test_stages.chosen(test_stages.stages(ROOT, every), names, ["bare"], emulated)
        return "again" in [stage.name for stage in chosen]

    assert not again()
    assert again(every=True) and again("again") and again(emulated=False)


def test_the_reboot_that_the_last_chapter_shows_too_is_left_out_unless_it_is_asked_for() -> None:
    def rebooted(*names: str, every: bool = False) -> bool:
        chosen = test_stages.chosen(test_stages.stages(ROOT, every), names, ["bare"])
        return "rebooted" in [stage.name for stage in chosen]

    assert not rebooted()
    assert rebooted("rebooted") and rebooted(every=True)


def test_all_mutants_run_only_where_all_are_asked_for() -> None:
    flags = [
        ["--all-mutants" in stage.arguments for stage in test_stages.stages(ROOT, every=every)]
        for every in (True, False)
    ]
    assert [sum(each) for each in flags] == [3, 0]


def test_a_line_for_each_section_of_a_chapter(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_notebook(
        "01_one.ipynb",
        [
            prose("# One"),
            code("x = 1"),
            prose("## A door"),
            code("x = 2"),
            code("x = 3"),
            prose("### and"),
            code("x = 4"),
        ],
    )
    second = write_notebook(
        "02_two.ipynb",
        [prose("# Two"), code("import os; print(os.environ['SAID'])", "do", printed="to the children\n")],
    )

    assert ran(tmp_path, "--nbval", "-p", "tests.notebooks.nbval_guard", first, second).passed

    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"  \([\d.]+ s\)$", "", row) for row in lines] == [
        "  ok  01  Start",
        "  ok  01  A door",
        "  ok  02  Start",
    ]
    assert (tmp_path / "test-9-try.log").read_text().count(" PASSED") == 5


def test_the_section_that_failed_is_named_with_the_cell_and_its_output(
    write_notebook: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_notebook(
        "01_one.ipynb",
        [
            code("x = 1"),
            prose("## A door"),
            code("print('shut')", "look", printed="open\n"),
            prose("## Another"),
            code("x = 2"),
        ],
    )

    result = ran(tmp_path, "--nbval", "-p", "tests.notebooks.nbval_guard", path)

    printed = capsys.readouterr().out
    assert [row[:15] for row in printed.splitlines()[:2]] == ["  ok  01  Start", "  !!  01  A door"[:15]]
    assert "Another" not in printed and "not run" not in printed
    assert "01_one.ipynb, cell 1 (id " in printed and "shut" in printed
    assert "exit status 1; the whole output is in" in printed
    assert not result.passed and len(result.lines()) == 2
    assert re.search(r"01_one.ipynb, cell 1 \(id \w+\): Cell outputs differ$", result.lines()[1])


def test_a_test_that_failed_is_named_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = tmp_path / "test_two.py"
    tests.write_text("def test_right():\n    pass\n\n\ndef test_wrong():\n    assert 'seen' == 'expected'\n")

    result = ran(tmp_path, "--tb=short", tests)

    printed = capsys.readouterr().out
    assert re.search(r"  !!  .*: 1 failed, 1 passed", printed)
    assert "::test_wrong\n" in printed and "assert 'seen' == 'expected'" in printed
    assert "test_right" not in printed
    first, second = result.lines()
    assert first.startswith("  !!  ") and first.endswith("  a try")
    assert re.search(r"::test_wrong: AssertionError: assert 'seen' == 'expected'$", second)


def test_tests_that_need_no_machine_are_named_where_they_failed(tmp_path: Path) -> None:
    tail = ("E  assert 1 == 2", "FAILED tests/app/test_x.py::test_y - assert 1 == 2", "1 failed in 0.1s")
    checked = test_fast.Checked("tests of lab_app", 1.0, subprocesses.Ended(1, tail), tmp_path / "log")
    assert checked.failures() == ["tests of lab_app", tail[1]]
    assert (
        test_fast.Checked("ruff check", 1.0, subprocesses.Ended(0, tail), tmp_path / "log").failures() == []
    )


def test_the_table_at_the_end_stays_a_table_however_much_failed() -> None:
    took = StageResult("a try", 3.0, False, tuple(f"test {number}" for number in range(60)))
    assert [text.strip() for text in took.lines()[1:]] == [*(f"test {number}" for number in range(10)), "…"]
    assert StageResult("a try", 3.0, True).lines() == ["  ok         3.0 s  a try"]


def test_a_run_that_collects_nothing_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_none.py").write_text("")
    assert not ran(tmp_path, tmp_path / "test_none.py").passed
    assert "no tests ran" in capsys.readouterr().out


def test_choice_of_mutants_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = f"{test_run.NOTE}chosen by LAB_MUTANTS_SEED=3f2a"
    (tmp_path / "conftest.py").write_text(f"def pytest_report_collectionfinish():\n    return {note!r}\n")
    (tmp_path / "test_one.py").write_text("def test_right():\n    pass\n")
    assert ran(tmp_path, tmp_path / "test_one.py").passed
    assert f"  --  {note}" in capsys.readouterr().out.splitlines()
