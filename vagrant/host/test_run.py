"""One stage of `make test`: pytest on a server, shown as it goes on."""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from . import subprocesses
from .progress import Step, line, step
from .test_reports import StageResult, failures, skipped
from .test_stages import Stage

NOTE = "mutants: "  # with it begins the line in which pytest says how they were chosen, to be shown


def run(stage: Stage, checkout: Path, python: list[str], context: dict[str, str], logs: Path) -> StageResult:
    """One stage: what it does, as it does it, then what failed. `python`: the command that runs it."""
    started = time.monotonic()
    log, report = logs / f"test-{stage.name}.log", logs / f"test-{stage.name}.xml"
    for old in (log, report):
        old.unlink(missing_ok=True)
    command = [*python, "-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider",
               f"--junitxml={report}", *stage.arguments]  # fmt: skip
    environ = {**context, "PYTHONUNBUFFERED": "1"}
    notebooks = [checkout / part for part in stage.arguments if part.endswith(".ipynb")]
    if notebooks:
        with Sections(cells_of(notebooks)) as sections:
            ended = subprocesses.run(
                command, log=log, watch=sections.see, env=environ, cwd=checkout, limit=stage.limit
            )
            sections.failed = sections.failed or ended.status != 0
    else:
        with step(" ".join(part for part in stage.arguments if part.startswith("tests/"))) as current:
            notes: list[str] = []

            def note(text: str) -> None:
                if text.startswith(NOTE):
                    notes.append(text)

            ended = subprocesses.run(
                command, log=log, step=current, watch=note, env=environ, cwd=checkout, limit=stage.limit
            )
            current.failed = ended.status != 0
            current.result = ended.tail[-1].strip("= ") if ended.tail else ""
        for text in notes:
            line(f"  --  {text}")
    failed = failures(report) if ended.status != 0 else []
    if ended.status != 0:
        for text in [text for failure in failed for text in failure.lines()] or ended.tail[-20:]:
            line(f"        {text}")
        line(f"        (exit status {ended.status}; the whole output is in {log})")
    shown = tuple(f"{failure.name}: {failure.says}" for failure in failed)
    return StageResult(stage.title, time.monotonic() - started, ended.status == 0, shown, skipped(report))


def cells_of(notebooks: list[Path]) -> dict[tuple[str, int], str]:
    """The section of each code cell, by the file's name and nbval's number of the cell, in their order."""
    sections: dict[tuple[str, int], str] = {}
    for path in notebooks:
        section, count = f"{path.name[:2]}  Start", 0
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                sections[path.name, count] = section
                count += 1
            elif heading := re.findall(r"^## +(.+)$", "".join(cell["source"]), re.M):
                section = f"{path.name[:2]}  {heading[-1]}"
    return sections


class Sections:
    """Folds pytest's lines for single cells into a step for each section of a chapter."""

    # With -v, pytest writes 01_vm_setup::ipynb for nbval's 01_vm_setup.ipynb.
    LINE = re.compile(r"(?:\S*/)?(\w+)(?:\.|::)ipynb::Cell (\d+) (PASSED|FAILED|ERROR)")

    def __init__(self, cells: dict[tuple[str, int], str]) -> None:
        self.left = list(cells.items())
        self.stack = ExitStack()
        self.failed = False

    def __enter__(self) -> Sections:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.current.failed = self.failed
        self.stack.__exit__(kind, error, trace)

    def _begin(self) -> None:
        self.title = self.left[0][1] if self.left else "nothing"
        self.current: Step = self.stack.enter_context(step(self.title))

    def see(self, text: str) -> None:
        """Take one line of output. After a cell that failed no other is run: the rest folds into one step."""
        cell_line = self.LINE.match(text)
        if cell_line is None or self.failed:
            return
        self.failed = cell_line[3] != "PASSED"
        cell = (f"{cell_line[1]}.ipynb", int(cell_line[2]))
        self.current.detail = f"cell {cell_line[2]}"
        self.left = [(other, title) for other, title in self.left if other > cell]
        if self.left and self.left[0][1] != self.title and not self.failed:
            self.stack.close()
            self._begin()
