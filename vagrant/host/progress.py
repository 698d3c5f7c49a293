"""What lab.py prints: problems in a sentence with the next step, and steps with how long they took."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 100  # characters of what a program says that are shown
HEARTBEAT = 30.0  # seconds between two signs of life where the output is no terminal
ALIVE_AFTER = 2.0  # seconds after which a step on a terminal shows a clock


class Problem(Exception):
    """Something the person can mend: one sentence, then what to do next, line by line."""

    def __init__(self, sentence: str, *next_steps: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_steps = next_steps


def called(command: str) -> str:
    """How the person called a command, for messages: what has no target of make is never called by make."""
    by_make = "MAKELEVEL" in os.environ and command not in ("up", "programs", "snapshot", "restore")
    return f"make {command}" if by_make else f"lab.py {command}"


def seconds(duration: float) -> str:
    """A duration as a person reads it: `0.4 s`, `12 s`, `3 min 05 s`."""
    if duration < 10:
        return f"{duration:.1f} s"
    if duration < 60:
        return f"{duration:.0f} s"
    return f"{int(duration) // 60} min {int(duration) % 60:02d} s"


def gibibytes(count: float) -> str:
    """A number of bytes in the unit that fits: `450 MB`, `2.5 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def line(text: str = "") -> None:
    """One line on standard output, at once."""
    print(text, flush=True)


def agrees(question: str) -> bool:
    """Ask the person at the terminal; an empty answer is a no."""
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


@dataclass
class Step:
    """A step under way: while it lasts, it shows its detail, which the code that runs it sets."""

    title: str
    started: float = field(default_factory=time.monotonic)
    detail: str = ""
    result: str = ""
    failed: bool = False

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started


def _alive(step: Step, ended: threading.Event, terminal: bool) -> None:
    """Redraw one line on a terminal; elsewhere add a line every half minute."""
    if not terminal:
        while not ended.wait(HEARTBEAT):
            detail = f": {step.detail[:LONGEST]}" if step.detail else ""
            line(f"  ..  {step.title}, {seconds(step.elapsed)} so far{detail}")
        return
    if ended.wait(ALIVE_AFTER):
        return
    while not ended.wait(0.25):
        width = shutil.get_terminal_size().columns - 1
        text = f"  ..  {step.title}  {int(step.elapsed) // 60}:{int(step.elapsed) % 60:02d}  {step.detail}"
        sys.stdout.write("\r\x1b[K" + text[:width])
        sys.stdout.flush()


_last_line = threading.Lock()  # steps may overlap, and a terminal has one last line: the first of them has it


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Say one line for what happens inside: alive while it lasts, with its duration when it has ended."""
    current = Step(title)
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    ended = threading.Event()
    drawn = terminal and _last_line.acquire(blocking=False)
    clock = threading.Thread(target=_alive, args=(current, ended, terminal), daemon=True)
    if drawn:
        sys.stdout.write(f"  ..  {title}")
        sys.stdout.flush()
    if drawn or not terminal:
        clock.start()
    word = "!!"
    try:
        yield current
        word = "!!" if current.failed else "ok"
    finally:
        ended.set()
        if clock.ident is not None:
            clock.join()
        if drawn:
            _last_line.release()
        result = f": {current.result}" if current.result else ""
        clear = "\r\x1b[K" if terminal else ""
        line(f"{clear}  {word}  {title}{result}  ({seconds(current.elapsed)})")
