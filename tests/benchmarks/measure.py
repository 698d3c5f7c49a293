"""What the benchmarks share: measure two things in turn, and show their medians as a ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table


def in_turn(programs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of each thing. One after the other, in turn: what slows one round slows both."""
    durations: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, do in programs.items():
            begin = time.perf_counter()
            do()
            durations[name].append(time.perf_counter() - begin)
    return durations


def spread(seconds: Sequence[float]) -> str:
    """`2.1 s (1.9 to 2.6)`: the median, and the extremes where there are several."""
    middle = f"{statistics.median(seconds):.2f} s"
    return f"{middle} ({min(seconds):.2f} to {max(seconds):.2f})" if len(seconds) > 1 else middle


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on the terminal; every column but the first holds numbers."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
