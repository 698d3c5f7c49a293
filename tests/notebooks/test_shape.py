"""Every chapter has the course's shape: its tags, its beat, its cells and what they show."""

from __future__ import annotations

import ast
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))

KINDS = {"setup", "do", "look", "check", "break", "solution", "picture"}
OWN = {"labkit", "labcheck"}
MAGICS = {"vm", "vm_file", "laptop", "check", "board", "padlock", "done"}
PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org", "deb.debian.org", "security.debian.org", "localhost"}
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

FORBIDDEN_SOURCE = {
    r"^\s*!": "a shell line: its exit status is lost; use %%vm",
    r"^\s*\w+\s*=\s*!": "a shell line: its exit status is lost; use %%vm",
    r"#\s*NBVAL_": "cells are tagged, never commented",
    r"\|\|\s*true\b": "an error is either expected (--expect) or shown",
    # Their names may be said, as of packages, and iotop has a mode that prints.
    r"(^|[;&|({]|\bsudo\b)[ \t]*(nano|vim?|htop|iotop(?! -b)|less)\b": "a full-screen program hangs a cell",
    r"^\s*(function\s+)?[\w-]+\s*\(\)\s*\{": "a helper function: notebooks hold none",
    r"\b(os\.system|subprocess|getoutput|get_ipython)\b": "a shell whose failure is lost; use %%vm",
    r"(?s)^%%laptop\b.*\bsudo\b": "administering a computer that is the person's own",
}
UNSTABLE_OUTPUT = {
    r"\x1b\[": "colours and cursor tricks",
    r"\b\d\d:\d\d:\d\d\b": "a clock time",
    r"\b20\d\d-\d\d-\d\d\b": "a date",
    r"\bpid \d+": "a process number",
    r"\b(in|took|after) \d+\.\d+ ?m?s\b": "a duration",
    r"^(Get|Hit|Ign|Err):\d+ ": "what apt fetched from where",
    r"\b(Looking in indexes|Downloading https?:)": "what pip fetched from where",
}
FORBIDDEN_ANYWHERE = {
    r"\bsk-[A-Za-z0-9_-]{20,}": "something like a key of a model provider",
    r"-----BEGIN [A-Z ]*PRIVATE KEY": "a private key",
    r"\b(ghp_|github_pat_)\w{20,}|\bAKIA[A-Z0-9]{16}\b": "something like a token",
    r"/(tmp/pytest-|Users/\w|workspace/|builds/)|[A-Z]:\\Users": "a path of the writing machine",
}


@dataclass(frozen=True)
class Chapter:
    """A notebook and what is asked of it."""

    path: Path
    notebook: NotebookNode

    @property
    def number(self) -> str:
        return self.path.name[:2]

    @property
    def cells(self) -> list[NotebookNode]:
        return list(self.notebook.cells)

    @property
    def code(self) -> list[NotebookNode]:
        return [cell for cell in self.cells if cell.cell_type == "code"]

    def sections(self) -> list[tuple[str, list[NotebookNode]]]:
        """Each `##` heading with the cells from it to the next one."""
        sections: list[tuple[str, list[NotebookNode]]] = []
        for cell in self.cells:
            if cell.cell_type == "markdown" and (heading := re.match(r"## +(.+)", cell.source)):
                sections.append((heading[1].strip(), []))
            if sections:
                sections[-1][1].append(cell)
        return sections


@pytest.fixture(params=PATHS, ids=[path.stem for path in PATHS])
def chapter(request: pytest.FixtureRequest) -> Chapter:
    return read(request.param)


def read(path: Path) -> Chapter:
    """The chapter as it is in its file: `nbformat.read` would silently repair ids that occur twice."""
    return Chapter(path, nbformat.v4.reads(path.read_text(encoding="utf-8")))


def tags(cell: NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def kind(cell: NotebookNode) -> str:
    """What a code cell is for; `picture` counts only where it stands alone."""
    kinds = tags(cell) & KINDS
    return next(iter(kinds - {"picture"} or kinds), "")


def is_file(cell: NotebookNode) -> bool:
    return cell.source.startswith("%%vm_file ")


def is_python(cell: NotebookNode) -> bool:
    return not cell.source.lstrip().startswith("%")


def shown(cell: NotebookNode) -> str:
    """What a code cell printed, as text."""
    return "".join(
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "") + "\n"
        for output in cell.outputs
    )


def report(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def findings(cells: list[NotebookNode], rules: dict[str, str], text_of: object) -> Iterator[str]:
    """A line for each cell whose text breaks a rule."""
    assert callable(text_of)
    for cell in cells:
        for pattern, reason in rules.items():
            if found := re.search(pattern, text_of(cell), re.MULTILINE):
                yield f"{cell.id}: {found[0]!r} is {reason}"


def test_chapter_is_a_valid_notebook_with_nothing_of_its_machine_in_it(chapter: Chapter) -> None:
    repeated = [name for name, times in Counter(cell.id for cell in chapter.cells).items() if times > 1]
    problems = [f"{name}: two cells have this id" for name in repeated]
    nbformat.validate(chapter.notebook)
    assert (chapter.notebook.nbformat, chapter.notebook.nbformat_minor) == (4, 5)
    assert dict(chapter.notebook.metadata) == METADATA, "python -m labkit.course --save writes it"
    for cell in chapter.cells:
        if extra := set(cell.metadata) - {"tags", "jupyter"}:
            problems.append(f"{cell.id}: metadata {sorted(extra)}")
        if set(cell.metadata.get("jupyter", {})) - {"source_hidden"}:
            problems.append(f"{cell.id}: jupyter metadata other than source_hidden")
    report(problems)


def test_every_code_cell_says_by_one_tag_what_it_is_for(chapter: Chapter) -> None:
    problems = []
    for cell in chapter.code:
        kinds = tags(cell) & KINDS
        if not kinds or len(kinds - {"picture"}) > 1:
            problems.append(f"{cell.id}: {sorted(kinds) or 'no tag'}; one of {sorted(KINDS)}")
        if others := tags(cell) - KINDS - {"raises-exception"}:
            problems.append(f"{cell.id}: unknown tags {sorted(others)}")
        if "raises-exception" in tags(cell) and kind(cell) not in ("break", "look"):
            problems.append(f"{cell.id}: only a break or a look may raise")
    report(problems)


def test_every_cell_goes_to_the_server_or_to_labkit(chapter: Chapter) -> None:
    """No shell but %%vm's and %%laptop's, no import but of OWN, no helpers, no sleeping."""
    problems = list(findings(chapter.code, FORBIDDEN_SOURCE, lambda cell: cell.source))
    for cell in chapter.code:
        # In a `%%` cell the rest is the server's; elsewhere any line may be a magic.
        lines = cell.source.splitlines()[:1] if cell.source.startswith("%%") else cell.source.splitlines()
        for magic in re.findall(r"^\s*%+(\w+.*)", "\n".join(lines), re.MULTILINE):
            if magic.split()[0] not in MAGICS and magic.strip() != "load_ext labkit":
                problems.append(f"{cell.id}: %{magic.split()[0]} is no magic of labkit")
        waits_for = re.search(r"\b(until|while|timeout)\b", cell.source)
        if kind(cell) != "break" and re.search(r"(^|[;\s])sleep\s", cell.source) and not waits_for:
            problems.append(f"{cell.id}: sleeps, where it should wait until something is so")
        if is_python(cell):
            problems.extend(f"{cell.id}: {problem}" for problem in python_problems(cell.source))
    report(problems)


def python_problems(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        yield "is no plain Python (a magic goes on the first line)"
        return
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                yield f"line {node.lineno} defines something: that belongs into labkit"
            case ast.Import(names=names):
                yield from (f"imports {name.name}" for name in names if name.name.split(".")[0] not in OWN)
            case ast.ImportFrom(module=module) if (module or "").split(".")[0] not in OWN:
                yield f"imports {module}"


def test_a_cell_is_short_unless_it_is_a_file(chapter: Chapter) -> None:
    report(
        [
            f"{cell.id}: {len(cell.source.splitlines())} lines, at most 15"
            for cell in chapter.code
            if len(cell.source.splitlines()) > 15 and not is_file(cell)
        ]
    )


def test_every_cell_was_executed_in_order_and_none_failed(chapter: Chapter) -> None:
    counts = [cell.execution_count for cell in chapter.code]
    never = [cell.id for cell in chapter.code if cell.execution_count is None]
    assert not never, f"never executed: {never}; python -m labkit.course --save {chapter.number}"
    assert counts == list(range(1, len(counts) + 1)), "not executed from top to bottom in one go"
    raised = [
        cell.id
        for cell in chapter.code
        if any(output.output_type == "error" for output in cell.outputs)
        and "raises-exception" not in tags(cell)
    ]
    assert not raised, f"ended in an error: {raised}"


def test_outputs_are_short_and_the_same_every_time(chapter: Chapter) -> None:
    compared = [cell for cell in chapter.code if "picture" not in tags(cell)]
    problems = list(findings(compared, UNSTABLE_OUTPUT, shown))
    for cell in chapter.code:
        lines = shown(cell).splitlines()
        # A picture may be a whole screen, such as 50 lines of a journal.
        if len(lines) > (most := 60 if "picture" in tags(cell) else 40):
            problems.append(f"{cell.id}: {len(lines)} lines of output, at most {most}")
        if wide := [line for line in lines if len(line) > 120]:
            problems.append(f"{cell.id}: {len(wide[0])} characters in a line, at most 120: {wide[0][:60]}…")
        drawn = any(name.startswith("image/") for output in cell.outputs for name in output.get("data", {}))
        if drawn and "picture" not in tags(cell):
            problems.append(f"{cell.id}: draws, but is no `picture`")
    report(problems)


def test_chapter_holds_no_secret_and_no_name_of_the_machine_it_was_written_on(chapter: Chapter) -> None:
    text = chapter.path.read_text(encoding="utf-8")
    problems = [reason for pattern, reason in FORBIDDEN_ANYWHERE.items() if re.search(pattern, text)]
    here = {str(ROOT), str(Path.home()) if str(Path.home()) != "/root" else "", *own_hosts()}
    problems += [f"{name} is a name of this machine" for name in here if name and name in text]
    report(problems)


@cache
def own_hosts() -> frozenset[str]:
    """The hosts that this machine gets packages through, and its own name, if no other machine has it."""
    places = [
        value for name, value in os.environ.items() if re.search(r"(?i)(index_?url|proxy|index)$", name)
    ]
    files = [Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path("/etc/apt/sources.list")]
    files += (
        sorted(Path("/etc/apt/sources.list.d").glob("*")) if Path("/etc/apt/sources.list.d").is_dir() else []
    )
    places += [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
    hosts = {urlsplit(url).hostname or "" for place in places for url in re.findall(r"https?://\S+", place)}
    # A short name of a machine ("vm", "lab") is also a word.
    return frozenset(host for host in hosts | {socket.gethostname()} if len(host) > 5) - PUBLIC_HOSTS


def test_chapter_begins_with_what_you_will_be_able_to_do(chapter: Chapter) -> None:
    first = chapter.cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# \S", first.source), "the first line is the chapter's title"
    assert "will be able to" in first.source
    assert (chapter.code[0].source, kind(chapter.code[0])) == ("%load_ext labkit", "setup")


def test_chapter_ends_with_the_board_its_snapshot_and_what_comes_next(chapter: Chapter) -> None:
    *_, board, done = chapter.code
    assert (board.source, kind(board)) == ("%board", "look")
    assert (done.source, kind(done)) == (f"%done {chapter.number}", "setup")
    last = chapter.cells[-1]
    assert last.cell_type == "markdown"
    assert "next" in last.source.lower()


def test_every_section_has_a_name_of_its_own_and_says_why(chapter: Chapter) -> None:
    names = Counter(name for name, _ in chapter.sections())
    problems = [f"two sections are named {name!r}" for name, times in names.items() if times > 1]
    for name, cells in chapter.sections():
        if len([line for line in cells[0].source.splitlines()[1:] if line.strip()]) < 1:
            problems.append(f"{name}: no sentence says why")
    report(problems)


def test_every_section_that_changes_something_has_the_beat(chapter: Chapter) -> None:
    """Look, predict, do, look again: the reader sees that a change did what was said."""
    problems = []
    for name, cells in chapter.sections():
        kinds = [kind(cell) if cell.cell_type == "code" else "prose" for cell in cells]
        changes = [index for index, each in enumerate(kinds) if each in ("do", "break")]
        if not changes:
            continue
        readings = [index for index, each in enumerate(kinds) if each in ("look", "check")]
        if not readings or readings[0] > changes[0]:
            problems.append(f"{name}: no look before {cells[changes[0]].id}")
        if not readings or readings[-1] < changes[-1]:
            problems.append(f"{name}: no look after {cells[changes[-1]].id}")
        predicted = any(
            "**Predict.**" in cell.source and "<details>" in cell.source and "</details>" in cell.source
            for cell in cells
            if cell.cell_type == "markdown"
        )
        if not predicted:
            problems.append(f"{name}: no **Predict.** with its answer folded in <details>")
    report(problems)


def test_chapter_breaks_something_on_purpose_and_checks_something(chapter: Chapter) -> None:
    kinds = {kind(cell) for cell in chapter.code}
    if chapter.number != "00":
        assert {"break", "check"} <= kinds


def test_a_break_runs_only_where_the_lab_left_its_mark(chapter: Chapter) -> None:
    """`%%vm --break` refuses a server without the lab's marker."""
    report(
        [
            f"{cell.id}: tagged break, but not `%%vm --break`, or the other way round"
            for cell in chapter.code
            if (kind(cell) == "break") != bool(re.match(r"%%vm\b.*\s--break\b", cell.source))
        ]
    )


def test_every_check_cell_is_green(chapter: Chapter) -> None:
    """The red ones, and the board, are looks: their words change on the finished server."""
    problems = []
    for cell in chapter.code:
        if kind(cell) == "check":
            verdicts = re.findall(r"^\s*\d+\s+(PASS|FAIL|SKIP|UNKNOWN|\?\?)(?!\w)", shown(cell), re.MULTILINE)
            if not cell.source.startswith("%check ") or set(verdicts) != {"PASS"}:
                problems.append(f"{cell.id}: {cell.source!r} shows {verdicts or 'no verdict'}")
    report(problems)


def test_chapter_s_pictures_and_links_are_there(chapter: Chapter) -> None:
    problems = []
    for cell in chapter.cells:
        if cell.cell_type != "markdown":
            continue
        for bang, words, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", cell.source):
            if bang and not words:
                problems.append(f"{cell.id}: {target} has no words for a reader who cannot see it")
            if not urlsplit(target).scheme and not target.startswith("#"):
                beside = (chapter.path.parent / target.partition("#")[0]).resolve()
                if not beside.exists():
                    problems.append(f"{cell.id}: {target} is not there")
    report(problems)


def test_every_item_of_the_checklist_names_a_section_that_is_there(chapter: Chapter) -> None:
    from labcheck.checklist import ITEMS

    names = {name for name, _ in chapter.sections()}
    report(
        [
            f"item {item.number} is taught in {item.section!r}"
            for item in ITEMS
            if item.chapter == chapter.path.stem and item.criteria and item.section not in names
        ]
    )


SCREENS = {"padlock.png"}
"""What a browser showed, as %padlock shows it where there is none."""


def test_every_picture_is_drawn_as_text_in_an_svg_and_used_somewhere() -> None:
    places = [*PATHS, ROOT / "README.md"]
    pages = "".join(path.read_text(encoding="utf-8") for path in places if path.exists())
    problems = []
    for path in sorted((ROOT / "notebooks" / "pictures").iterdir()):
        if path.name in SCREENS:
            if (size := path.stat().st_size) > 60_000:
                problems.append(f"{path.name}: {size} bytes, at most 60,000")
        elif path.suffix != ".svg":
            problems.append(f"{path.name}: a picture is an .svg")
        elif "<text" not in (drawing := path.read_text(encoding="utf-8")) or "<title" not in drawing:
            problems.append(f"{path.name}: its words cannot be read out")
        if path.name not in pages:
            problems.append(f"{path.name}: shown nowhere")
    report(problems)
