"""Running chapters unattended: `python -m labkit.course [--save | --steps] [--timeout SECONDS] [NN …]`."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shlex
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbclient.util import ensure_async
from nbformat import NotebookNode
from rich.console import Console
from rich.status import Status

CHAPTERS = Path(__file__).resolve().parent.parent
CELL_TIMEOUT = 900.0
"""Seconds a cell may take: the longest one installs packages, which takes 270 s on an emulated machine."""
PUTTING_BACK = 30.0
"""Seconds an interrupted cell has to put back what it had changed, before its kernel is ended."""
HEARTBEAT = 15.0
"""Seconds between two signs of life where there is no terminal to draw on."""

STEPS = frozenset({"setup", "do"})
"""The tags of the cells that change the server for good, and of what they need before them."""

USAGE, STOPPED, INTERRUPTED = 64, 1, 130
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class CannotRun(Exception):
    """Nothing was started; the message says why, and what to do."""


@dataclass(frozen=True)
class Section:
    """A `##` heading and the code cells under it, each with its index in the notebook."""

    title: str
    cells: tuple[tuple[int, NotebookNode], ...]


@dataclass(frozen=True)
class Chapter:
    """A notebook file: `number` is the NN of its name."""

    number: str
    path: Path
    notebook: NotebookNode

    @property
    def title(self) -> str:
        return next(headings(self.notebook.cells[0].source, level=1), self.path.stem)


@dataclass(frozen=True)
class Place:
    """Where a run is, in the words that a person needs to find the cell again."""

    section: str
    position: int
    of: int
    cell: NotebookNode

    @property
    def kind(self) -> str:
        return ", ".join(self.cell.metadata.get("tags", ())) or "no tag"


class Stopped(Exception):
    """A cell, or a kernel that did not start, ended the run."""

    def __init__(self, reason: str, place: Place | None = None) -> None:
        super().__init__(reason)
        self.reason, self.place = reason, place


def headings(markdown: str, *, level: int) -> Iterator[str]:
    """The headings of one level in a markdown cell, without their hashes."""
    for line in markdown.splitlines():
        if found := re.fullmatch(rf"#{{{level}}}\s+(.+?)\s*", line):
            yield found[1]


def is_step(cell: NotebookNode) -> bool:
    """Whether a cell is one of the chapter's steps, and does not look, check or break on the way."""
    return not STEPS.isdisjoint(cell.metadata.get("tags", ()))


def sections(notebook: NotebookNode, *, steps: bool = False) -> list[Section]:
    """The chapter's code cells by `##` heading, or its `steps` alone; those before the first are "Start"."""
    title, cells, sections = "Start", [], []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            if is_step(cell) or not steps:
                cells.append((index, cell))
        elif cell.cell_type == "markdown":
            for heading in headings(cell.source, level=2):
                sections.append(Section(title, tuple(cells)))
                title, cells = heading, []
    sections.append(Section(title, tuple(cells)))
    return [section for section in sections if section.cells]


def find(numbers: Sequence[str], folder: Path) -> list[Chapter]:
    """The chapters of these numbers ("1" is "01"), or all of them, in the order of the course."""
    by_number = {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    selected = [number.zfill(2) for number in numbers] or list(by_number)
    for number in selected:
        if number not in by_number:
            raise CannotRun(f"there is no chapter {number}; there are: {', '.join(by_number) or 'none'}")
    if not selected:
        raise CannotRun(f"there are no chapters in {folder}")
    return [Chapter(number, by_number[number], read(by_number[number])) for number in sorted(set(selected))]


def read(path: Path) -> NotebookNode:
    """The notebook in this file."""
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, nbformat.reader.NotJSONError) as error:
        raise CannotRun(f"cannot read {path} as a notebook: {error}") from error
    return notebook


def node(**fields: Any) -> NotebookNode:
    """A piece of a notebook (nbformat says nothing of its types)."""
    return NotebookNode(**fields)  # type: ignore[no-untyped-call]


def tidy(notebook: NotebookNode) -> NotebookNode:
    """The same notebook holding nothing that differs from one run, machine or release to the next.

    Kept: sources, cell ids, tags, folded sources, outputs. Counts are 1…n; the kernel is "python3"
    in every release; time stamps, widget states and tracebacks (they name a machine's paths) are gone.
    """
    count = 0
    cells = []
    for cell in notebook.cells:
        tidied = node(id=cell.id, cell_type=cell.cell_type, source=cell.source, metadata=node())
        if cell.metadata.get("tags"):
            tidied.metadata.tags = list(cell.metadata.tags)
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            tidied.metadata.jupyter = node(source_hidden=True)
        if cell.cell_type == "code":
            count += 1
            tidied.execution_count = count if cell.execution_count is not None else None
            tidied.outputs = [tidy_output(output, count) for output in one_stream_each(cell.outputs)]
        cells.append(tidied)
    metadata = node(
        kernelspec=node(display_name="Python 3 (ipykernel)", language="python", name="python3"),
        language_info=node(name="python"),
    )
    return node(cells=cells, metadata=metadata, nbformat=4, nbformat_minor=5)


def one_stream_each(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring pieces of one stream as one: how a kernel cuts them is a matter of timing."""
    whole: list[NotebookNode] = []
    for output in outputs:
        last = whole[-1] if whole else None
        if output.output_type == "stream" and last is not None and last.get("name") == output.name:
            last.text += output.text
        else:
            whole.append(node(**output))
    return whole


def tidy_output(output: NotebookNode, count: int) -> NotebookNode:
    """One output in its shortest valid form."""
    match output.output_type:
        case "stream":
            return node(output_type="stream", name=output.name, text=output.text)
        case "error":
            line = f"{output.ename}: {output.evalue}"
            return node(output_type="error", ename=output.ename, evalue=output.evalue, traceback=[line])
        case "execute_result":
            return node(
                output_type="execute_result", data=output.data, metadata=node(), execution_count=count
            )
        case _:
            return node(output_type="display_data", data=output.data, metadata=node())


def save(chapter: Chapter) -> bool:
    """Write the chapter back, if that changes it; there is the old file or the new one, never half of one."""
    notebook = tidy(chapter.notebook)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, version=4).rstrip("\n") + "\n"  # type: ignore[no-untyped-call]
    if chapter.path.read_text(encoding="utf-8") == text:
        return False
    beside = chapter.path.with_suffix(".ipynb.new")
    beside.write_text(text, encoding="utf-8", newline="\n")
    beside.replace(chapter.path)
    return True


class Progress:
    """What a person sees meanwhile: a line a section, and a sign of life in a long cell."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status: Status | None = None
        self.last_line = 0.0

    def chapter(self, chapter: Chapter) -> None:
        self.console.print(f"{chapter.number}  {chapter.title}", style="bold", markup=False)

    def started(self, place: Place) -> None:
        self.last_line = time.monotonic()
        if self.console.is_terminal:
            self.status = self.console.status("")
            self.status.start()
            self.alive(place, 0)

    def alive(self, place: Place, seconds: float) -> None:
        """Called every second while a cell runs."""
        where = f"{place.section}, cell {place.position} of {place.of}: {first_line(place.cell)}"
        if self.status is not None:
            self.status.update(f"{seconds:5.0f} s  {where}".replace("[", "\\["))
        elif time.monotonic() - self.last_line >= HEARTBEAT:
            self.last_line = time.monotonic()
            self.line("..", seconds, f"{where}: still running")

    def ended(self) -> None:
        if self.status is not None:
            self.status.stop()
            self.status = None

    def line(self, word: str, seconds: float, text: str) -> None:
        self.console.print(
            f"    {word:4}{seconds:5.0f} s  {text}", markup=False, highlight=False, soft_wrap=True
        )


def first_line(cell: NotebookNode) -> str:
    """The first line of a cell that says what it does: a magic alone does not."""
    lines: list[str] = [line for line in cell.source.splitlines() if line.strip()] or ["(empty)"]
    telling = [line for line in lines if not line.startswith("%%vm ") and line.strip() != "%%vm"]
    line = (telling or lines)[0].strip()
    return line if len(line) <= 60 else line[:59] + "…"


async def run(chapter: Chapter, progress: Progress, *, timeout: float, steps: bool = False) -> None:
    """Run every cell of the chapter, or its `steps`, in a kernel of its own, which is ended whatever happens.

    The chapter's notebook then holds the outputs. Raises Stopped at the first cell that fails.
    """
    client = NotebookClient(
        chapter.notebook,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        iopub_timeout=60,
        raise_on_iopub_timeout=True,
    )
    manager = client.create_kernel_manager()
    # Other accounts of this computer could listen otherwise, and the kernel complains about it in every run.
    manager.transport_encryption = "auto"
    try:
        # The chapter's folder, as in JupyterLab: both find labcheck.toml and pictures from there.
        await client.async_start_new_kernel(cwd=str(chapter.path.parent))
        await client.async_start_new_kernel_client()
        count = 0
        parts = sections(chapter.notebook, steps=steps)
        of = sum(len(section.cells) for section in parts)
        for section in parts:
            began = time.monotonic()
            for index, cell in section.cells:
                count += 1
                place = Place(section.title, count, of, cell)
                await run_cell(client, index, place, progress, timeout=timeout)
            progress.line("ok", time.monotonic() - began, section.title)
    except RuntimeError as error:
        raise Stopped(f"the notebook's kernel did not start: {error}") from error
    finally:
        progress.ended()
        await end_kernel(manager)


async def run_cell(
    client: NotebookClient, index: int, place: Place, progress: Progress, *, timeout: float
) -> None:
    """Run one cell; raises Stopped if it fails, takes longer than `timeout` seconds, or kills its kernel.

    A cell that is given up is interrupted first, as by the stop button: it may have something to put back.
    """
    cell, began = place.cell, time.monotonic()
    cell.outputs = []
    execution = asyncio.ensure_future(
        client.async_execute_cell(cell, index, execution_count=place.position, store_history=True)
    )
    progress.started(place)
    try:
        while not execution.done() and time.monotonic() - began < timeout:
            await asyncio.wait({execution}, timeout=1)
            progress.alive(place, time.monotonic() - began)
        if not execution.done():
            await interrupt(client, execution)
            raise Stopped(f"{where(place)} was still running after {timeout:.0f} s (--timeout)", place)
        await execution
    except asyncio.CancelledError:
        await interrupt(client, execution)
        raise
    except DeadKernelError as error:
        raise Stopped(
            f"{where(place)} ended its own kernel after {time.monotonic() - began:.0f} s: "
            "the process is gone (out of memory, or killed?)",
            place,
        ) from error
    except CellExecutionError as error:
        raise Stopped(f"{where(place)} failed after {time.monotonic() - began:.0f} s", place) from error
    except TimeoutError as error:
        raise Stopped(f"{where(place)} ended, but its output did not arrive within 60 s", place) from error
    finally:
        progress.ended()


async def interrupt(client: NotebookClient, execution: asyncio.Future[Any]) -> None:
    """Stop a running cell and give it time to put things back."""
    if client.km is not None:
        await ensure_async(client.km.interrupt_kernel())
    await asyncio.wait({execution}, timeout=PUTTING_BACK)
    if execution.done() and not execution.cancelled():
        execution.exception()  # Read, or asyncio would complain: we asked for it.
    execution.cancel()


async def end_kernel(manager: Any) -> None:
    """End the kernel and everything that it started; a dead one is fine."""
    if manager.has_kernel:
        await ensure_async(manager.shutdown_kernel(now=not await ensure_async(manager.is_alive())))
    await ensure_async(manager.cleanup_resources())


def where(place: Place) -> str:
    return f'"{place.section}", code cell {place.position} of {place.of} ({place.kind}; id {place.cell.id})'


def last_lines(cell: NotebookNode, lines: int = 20) -> list[str]:
    """The last lines that a cell printed, its error last, without colours."""
    text = ""
    for output in cell.outputs:
        if output.output_type == "stream":
            text += output.text
        elif output.output_type == "error":
            text += f"\n{output.ename}: {output.evalue}\n"
        else:
            text += output.data.get("text/plain", "") + "\n"
    return [line for line in ANSI.sub("", text).splitlines() if line.strip()][-lines:]


def explain(stopped: Stopped, chapter: Chapter, remaining: Sequence[str], console: Console) -> None:
    """Say what stopped the run: the cell, what it printed, and how to go on."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    say(f"    stopped: {stopped.reason}")
    if stopped.place is not None:
        source = stopped.place.cell.source.splitlines()
        for line in source[:8]:
            say(f"      | {line}")
        if len(source) > 8:
            say(f"      | … {len(source) - 8} more lines")
        say("    it printed:")
        for line in last_lines(stopped.place.cell) or ["(nothing)"]:
            say(f"      | {line}")
    say("    the server is as that cell left it; to go on:")
    say(f"      look at it    open notebooks/{chapter.path.name} in JupyterLab")
    if tool := lab_tool():
        say(f"      start again   {shlex.join([*tool, 'goto', chapter.number])}")
        say(f"      and then      {shlex.join([*tool, 'course', *remaining])}")
    else:
        say(f"      and then      python -m labkit.course {shlex.join(remaining)}")


def lab_tool() -> list[str]:
    """The lab's own program, where there is a lab: its snapshots are what one can go back to."""
    config = os.environ.get("LABCHECK_CONFIG")
    if config is None:
        return []
    try:
        lab = tomllib.loads(Path(config).read_text(encoding="utf-8")).get("lab", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CannotRun(f"cannot read {config}, which LABCHECK_CONFIG names: {error}") from error
    return [str(word) for word in lab.get("tool", [])]


async def run_all(
    chapters: Sequence[Chapter], console: Console, *, timeout: float, keep: bool, steps: bool = False
) -> int:
    """Run the chapters one after the other; returns the exit status."""
    stop_on_terminate()
    for position, chapter in enumerate(chapters):
        progress = Progress(console)
        progress.chapter(chapter)
        try:
            await run(chapter, progress, timeout=timeout, steps=steps)
        except Stopped as stopped:
            explain(stopped, chapter, [later.number for later in chapters[position:]], console)
            return STOPPED
        if keep:
            console.print(
                "    outputs saved" if save(chapter) else "    outputs as they were", highlight=False
            )
    return 0


def stop_on_terminate() -> None:
    """A closed terminal or a `kill` ends the run as Ctrl-C does: the cell interrupted, the kernel ended."""
    task = asyncio.current_task()
    if task is None or sys.platform == "win32":
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


class Arguments(argparse.ArgumentParser):
    """Exits with 64 on wrong usage: 1 and 2 say something about the server."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def seconds(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ValueError
    return value


def main(arguments: Sequence[str] | None = None, *, folder: Path = CHAPTERS) -> int:
    parser = Arguments(
        prog="python -m labkit.course",
        description="Run chapters from top to bottom, stopping at the first cell that fails.",
        epilog="Exit status: 0 all ran, 1 a cell failed, 64 wrong usage, 130 interrupted.",
    )
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--save", action="store_true", help="write the outputs of each finished chapter into its file"
    )
    extent.add_argument(
        "--steps", action="store_true", help="only the cells that change the server: the same server, sooner"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=CELL_TIMEOUT,
        metavar="SECONDS",
        help="limit for one cell (%(default).0f)",
    )
    parser.add_argument(
        "chapters", nargs="*", metavar="NN", help="numbers of chapters; without any, all of them"
    )
    chosen = parser.parse_args(arguments)
    console = Console()
    try:
        lab_tool()
        chapters = find(chosen.chapters, folder)
        work = run_all(chapters, console, timeout=chosen.timeout, keep=chosen.save, steps=chosen.steps)
        return asyncio.run(work)
    except CannotRun as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nstopped; the kernel is ended, the server is as the last cell left it", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
