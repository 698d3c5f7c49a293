"""The rules of test_shape.py themselves: a good chapter passes them all, and each bad one fails its rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_notebook, new_output

from tests.notebooks import test_shape as shape
from tests.notebooks.conftest import code, prose

RULES = [
    rule
    for name, rule in vars(shape).items()
    if name.startswith("test_") and "chapter" in rule.__annotations__ and "checklist" not in name
]
GREEN = "  6  PASS  Firewall    22, 80 answer\n"


def good() -> NotebookNode:
    """The smallest chapter that has everything."""
    cells = [
        prose("# 1 · A door\n\nAfter this chapter you will be able to shut it."),
        code("%load_ext labkit", "setup"),
        prose("## Firewall\n\nEverybody may come in."),
        code("%check 6", "look", printed="  6  FAIL  Firewall    8000 answers\n"),
        prose(
            "**Predict.** What now?\n\n<details><summary>Then unfold this</summary>\n\nThat.\n\n</details>"
        ),
        code("%%vm --break\nsudo ufw --force enable", "break", printed="on\n"),
        code("%%vm\nsudo ufw allow 80/tcp", "do", printed="Rule added\n"),
        code("%check 6", "check", printed=GREEN),
        prose("## What you did\n\nYou shut a door."),
        code("%board", "look", printed="…\n"),
        code("%done 01", "setup"),
        prose("Next comes the name."),
    ]
    notebook = new_notebook(cells=cells, metadata=shape.METADATA, nbformat_minor=5)
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    return notebook


def write(notebook: NotebookNode, folder: Path) -> shape.Chapter:
    path = folder / "01_door.ipynb"
    nbformat.write(notebook, path)
    return shape.read(path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_chapter_passes(rule: Callable[[shape.Chapter], None], tmp_path: Path) -> None:
    rule(write(good(), tmp_path))


def source(index: int, text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(source=text)


def tagged(index: int, *tags: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].metadata.update(tags=list(tags))


def printed(index: int, text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[index].update(
        outputs=[new_output("stream", name="stdout", text=text)]
    )


def screen_of(lines: int) -> Callable[[NotebookNode], None]:
    """A picture of so many lines."""

    def spoil(notebook: NotebookNode) -> None:
        tagged(DO, "do", "picture")(notebook)
        printed(DO, "line\n" * lines)(notebook)

    return spoil


def without(index: int) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.pop(index)


DO, CHECK = 6, 7
WAYS_TO_BE_WRONG = [
    (
        "valid_notebook",
        lambda notebook: notebook.metadata.update(kernelspec={"name": "x", "display_name": "x"}),
    ),
    ("valid_notebook", lambda notebook: notebook.cells[DO].metadata.update(execution={"started": "today"})),
    ("valid_notebook", lambda notebook: notebook.cells[DO].update(id=notebook.cells[CHECK].id)),
    ("one_tag", tagged(DO)),
    ("one_tag", tagged(DO, "do", "look")),
    ("one_tag", tagged(DO, "do", "nbval-skip")),
    ("one_tag", tagged(DO, "do", "raises-exception")),
    ("goes_to_the_server", source(DO, "!ls")),
    ("goes_to_the_server", source(DO, "files = !ls")),
    ("goes_to_the_server", source(DO, "%%bash\nls")),
    ("goes_to_the_server", source(DO, "%pip install x")),
    ("goes_to_the_server", source(DO, "%%laptop\nls\nsudo ls")),
    ("goes_to_the_server", source(DO, "import subprocess")),
    ("goes_to_the_server", source(DO, "from lab_app import main")),
    ("goes_to_the_server", source(DO, "def help():\n    pass")),
    ("goes_to_the_server", source(DO, "help = lambda: 1")),
    ("goes_to_the_server", source(DO, "%%vm\nhelp() {\n  ls\n}")),
    ("goes_to_the_server", source(DO, "%%vm\nsleep 5")),
    ("goes_to_the_server", source(DO, "%%vm\nfalse || true")),
    ("goes_to_the_server", source(DO, "%%vm\nsudo nano /etc/hosts")),
    ("goes_to_the_server", source(DO, "%%vm\nls | less")),
    ("goes_to_the_server", source(DO, "%%vm\nsudo iotop -o")),
    ("goes_to_the_server", source(DO, "%%vm\n  htop")),
    ("is_short", source(DO, "%%vm\n" + "ls\n" * 16)),
    ("executed_in_order", lambda notebook: notebook.cells[DO].update(execution_count=None)),
    ("executed_in_order", lambda notebook: notebook.cells[DO].update(execution_count=40)),
    (
        "executed_in_order",
        lambda notebook: notebook.cells[DO].update(outputs=[new_output("error", ename="E", evalue="no")]),
    ),
    ("outputs_are_short", printed(DO, "line\n" * 41)),
    ("outputs_are_short", screen_of(61)),
    ("outputs_are_short", printed(DO, "x" * 121)),
    ("outputs_are_short", printed(DO, "started at 10:31:07")),
    ("outputs_are_short", printed(DO, "\x1b[31mred\x1b[0m")),
    ("outputs_are_short", printed(DO, "Get:1 http://a.mirror/debian bookworm InRelease")),
    (
        "outputs_are_short",
        lambda notebook: notebook.cells[DO].update(outputs=[new_output("display_data", {"image/png": "aa"})]),
    ),
    ("no_secret", printed(DO, "sk-" + "a1" * 12)),
    ("no_secret", printed(DO, str(shape.ROOT))),
    ("begins_with", source(0, "# A door")),
    ("begins_with", source(1, "import labkit")),
    ("ends_with", without(9)),
    ("ends_with", source(10, "%done 02")),
    ("ends_with", source(11, "The end.")),
    ("name_of_its_own", source(8, "## Firewall\n\nAgain.")),
    ("name_of_its_own", source(8, "## What you did")),
    ("has_the_beat", without(3)),
    ("has_the_beat", without(CHECK)),
    ("has_the_beat", without(4)),
    ("breaks_something", without(5)),
    ("breaks_something", tagged(CHECK, "look")),
    ("only_where_the_lab", tagged(DO, "break")),
    ("only_where_the_lab", tagged(5, "do")),
    ("is_green", printed(CHECK, "  6  FAIL  Firewall    8000 answers\n")),
    ("is_green", printed(CHECK, GREEN + "  7  ??    Account    could not look\n")),
    ("is_green", printed(CHECK, "")),
    ("pictures_and_links", source(2, "## Firewall\n\n![a wall](pictures/none.svg)")),
    ("pictures_and_links", source(2, "## Firewall\n\n[next](02_name.ipynb)")),
]


@pytest.mark.parametrize(
    ("rule", "spoil"),
    WAYS_TO_BE_WRONG,
    ids=[f"{number:02} {rule}" for number, (rule, _) in enumerate(WAYS_TO_BE_WRONG)],
)
def test_a_bad_chapter_fails_its_rule(
    rule: str, spoil: Callable[[NotebookNode], None], tmp_path: Path
) -> None:
    (broken,) = [each for each in RULES if rule in each.__name__]
    notebook = good()
    spoil(notebook)
    path = tmp_path / "01_door.ipynb"
    path.write_text(nbformat.v4.writes(notebook), encoding="utf-8")

    with pytest.raises((AssertionError, nbformat.ValidationError, ValueError)):
        broken(shape.read(path))


def test_a_picture_may_be_a_screen_of_60_lines(tmp_path: Path) -> None:
    notebook = good()
    screen_of(60)(notebook)
    shape.test_outputs_are_short_and_the_same_every_time(write(notebook, tmp_path))


def test_a_full_screen_program_may_be_named_and_a_mode_that_prints_may_be_used(tmp_path: Path) -> None:
    notebook = good()
    source(DO, "%%vm\nsudo apt-get install htop iotop sysstat\nsudo iotop -b -n 1")(notebook)
    shape.test_every_cell_goes_to_the_server_or_to_labkit(write(notebook, tmp_path))
