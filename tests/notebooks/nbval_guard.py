"""nbval for chapters that change a real server.

    python -m pytest --nbval -p tests.notebooks.nbval_guard [--lab-run=again|steps] notebooks/[0-9]*.ipynb

nbval 0.11 alone waits for a dead kernel until the cell's time-out, goes on after a failed cell, turns
what follows a time-out into expected failures, waits 5 s for output whatever the machine, takes a cell
that was never executed for one without output, and keeps what a cell has cleared. Here:

- the kernel is looked at every second; when it is gone, the cell fails;
- after a cell that failed, no other cell is run, neither of that chapter nor of the following ones:
  each fails with one line that names the first. The server is left as the failed cell left it;
- a cell that was never executed fails before anything is run on it;
- an output that the cell itself takes back, such as a line of progress, is not compared;
- what is compared follows from the cell's tags and the run (`compares`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from _pytest._code import ExceptionInfo
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError, coalesce_streams

from labkit.course import STEPS

CELL_TIMEOUT = 900
"""Seconds for a cell: the longest installs packages, 270 s on an emulated machine. nbval's limit: 2000."""
OUTPUT_TIMEOUT = 60
"""Seconds between two messages of a kernel that has finished a cell. nbval's 5 is too short."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the kernel's process."""

VERDICT = re.compile(r"^\s*(\d+)\s+(PASS|FAIL|SKIP|UNKNOWN|\?\?)(?!\w)", re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nbval", "Jupyter Notebook validation")
    group.addoption(
        "--lab-run",
        choices=("first", "again", "steps"),
        default="first",
        help="first (default): on the server as the chapter before left it, all outputs are compared; "
        "again: on the finished server, nothing may raise and every check passes; "
        "steps: the cells that change the server, alone, on any server; nothing may raise",
    )
    group.addoption(
        "--lab-keep-going",
        action="store_true",
        help="a different output alone does not end the run: to see all differences at once",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not config.option.nbval:
        raise pytest.UsageError("tests.notebooks.nbval_guard needs --nbval")
    if config.option.nbval_cell_timeout == 2000:
        config.option.nbval_cell_timeout = CELL_TIMEOUT
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(Path(__file__).with_name("sanitize.cfg"))


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Put the guarded chapter in the place of nbval's."""
    collectors = yield
    return [
        Chapter.from_parent(parent, path=file_path) if type(collector) is IPyNbFile else collector
        for collector in collectors
    ]


def compares(tags: set[str], run: str) -> str:
    """How a cell's output is judged: "text" as it was committed, "verdicts" alone, or "nothing".

    A picture is never compared. On the finished server, `check` cells show the same items, all passed; `do`
    may say "already done" and `look` and `break` see a server that is further on.
    """
    if "picture" in tags:
        return "nothing"
    if run == "first" or "setup" in tags:
        return "text"
    return "verdicts" if "check" in tags else "nothing"


def is_run(tags: set[str], run: str) -> bool:
    """Whether a cell is run at all: of the steps, only what a chapter does."""
    return run != "steps" or not STEPS.isdisjoint(tags)


class KernelDied(Exception):
    """The kernel's process is gone."""


class NotRun(Exception):
    """Another cell failed first."""


class WatchedKernel(RunningKernel):  # type: ignore[misc]
    """nbval's kernel, looked at every second while it is waited for."""

    def get_message(self, stream: str, timeout: float | None = None) -> Any:
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (left := end - time.monotonic()) > 0:
            try:
                return super().get_message(stream, timeout=min(LOOK_EVERY, left))
            except Empty:
                if not self.is_alive():
                    raise KernelDied("the kernel died: its process is gone") from None
        raise Empty

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Wait for the answer to one request, in all and not from message to message, at most `timeout` s."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            message = self.get_message("shell", timeout=end - time.monotonic())
            if message["parent_header"].get("msg_id") == msg_id:
                return


class Chapter(IPyNbFile):  # type: ignore[misc]
    """One notebook: its kernel, and its cells in order."""

    def setup(self) -> None:
        if ended_by(self.config):
            return  # None of its cells will run, so no kernel is needed.
        self.kernel = WatchedKernel(
            self.config.option.nbval_kernel_name or CURRENT_ENV_KERNEL_NAME,
            cwd=str(self.path.parent),
            startup_timeout=self.config.option.nbval_kernel_startup_timeout,
        )
        self.setup_sanitize_files()

    def collect(self) -> Iterator[Cell]:
        for cell in super().collect():
            if is_run(set(cell.cell.metadata.get("tags", ())), self.config.option.lab_run):
                yield Cell.from_parent(
                    self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
                )

    def get_kernel_message(self, timeout: float | None = None, stream: str = "iopub") -> Any:
        """The next message that is not about taking outputs back: such a one is obeyed at once."""
        while True:
            message = super().get_kernel_message(timeout=timeout, stream=stream)
            if message["msg_type"] != "clear_output":
                return message
            self.running.test_outputs.clear()

    def teardown(self) -> None:
        if self.kernel is not None and hasattr(self.kernel, "km"):
            self.kernel.stop()


ENDED_BY = pytest.StashKey[str]()


def ended_by(config: pytest.Config) -> str:
    """The cell that ended the run, or nothing."""
    return config.stash.get(ENDED_BY, "")


class Cell(IPyNbCell):  # type: ignore[misc]
    """One code cell."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.output_timeout = OUTPUT_TIMEOUT
        self.judged = compares(set(self.cell.metadata.get("tags", ())), self.config.option.lab_run)
        self.options["check"] = self.judged != "nothing"
        # nbval's own ways around a comparison are not the course's: only tags decide.
        self.options["skip"] = False

    @property
    def place(self) -> str:
        return f"{self.path.name}, cell {self.cell_num} (id {self.cell.id})"

    def setup(self) -> None:
        """nbval would mark the cells after a time-out as expected failures here."""

    def runtest(self) -> None:
        if first := ended_by(self.config):
            raise NotRun(f"not run: {first} failed before")
        self.parent.running = self
        try:
            if self.cell.execution_count is None:
                self.raise_cell_error("This cell was never executed: run the chapter and save it.")
            super().runtest()
            if self.parent.timed_out:
                # nbval interrupts a cell that takes too long, and lets it pass if it takes that calmly.
                self.raise_cell_error(
                    f"Timeout of {self.config.option.nbval_cell_timeout:g} seconds exceeded"
                )
        except NbCellError as error:
            if not (self.config.option.lab_keep_going and str(error) == "Cell outputs differ"):
                self.config.stash[ENDED_BY] = self.place
            raise
        except KernelDied as error:
            self.config.stash[ENDED_BY] = self.place
            self.raise_cell_error(str(error))
        except BaseException:
            self.config.stash[ENDED_BY] = self.place
            raise

    def compare_outputs(self, test: list[NotebookNode], ref: list[NotebookNode], **options: Any) -> bool:
        if self.judged == "text":
            return bool(super().compare_outputs(test, ref, **options))
        return self.compare_verdicts(verdicts(test), verdicts(ref))

    def compare_verdicts(self, observed: list[tuple[str, str]], committed: list[tuple[str, str]]) -> bool:
        """The same items as were committed, and each of them passed."""
        items = [item for item, _ in committed]
        if items and observed == [(item, "PASS") for item in items]:
            return True
        self.comparison_traceback = [
            f"expected items {', '.join(items) or '(the committed output names none)'}, all PASS; saw "
            + (", ".join(f"{item} {verdict}" for item, verdict in observed) or "no verdict")
        ]
        return False

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], *arguments: Any) -> str:
        if isinstance(excinfo.value, NotRun):
            return str(excinfo.value)
        return f"{self.place}: {excinfo.value}\n{super().repr_failure(excinfo)}"


def verdicts(outputs: list[NotebookNode]) -> list[tuple[str, str]]:
    """The (item, verdict) pairs that a cell printed, in order."""
    printed = [
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        for output in coalesce_streams(outputs)
    ]
    return VERDICT.findall("\n".join(printed))
