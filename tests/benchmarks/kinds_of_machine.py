"""The same work on the same computer: in a container against an emulated machine.

    python -m tests.benchmarks.kinds_of_machine [--rounds 1] [--chapters 00 01 02]

A round makes the machine of each kind from nothing, runs chapters on it, restarts it, and removes it, in
turn, with the same Debian and nothing else of the lab running. Packages, .venv, and what image and box are
made from are there before the clock starts. Takes a quarter of an hour a round.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.measure import show, spread
from vagrant.host import failures, subprocesses
from vagrant.host.machine import Machine
from vagrant.host.progress import Problem, line

CHECKOUT = Path(__file__).resolve().parents[2]
KINDS = {"docker": "container", "libvirt": "emulated"}
LIMIT = 3600.0  # seconds for one command

Seconds = dict[str, list[float]]
"""Of each round, by what was done."""


def lab(kind: str, *arguments: str) -> float:
    """Run a command of lab.py on the benchmark's machine of this kind; seconds. Raises Problem."""
    name = f"benchmark-{kind}"
    environment = {"LAB_MACHINE": name, "LAB_PROVIDER": kind, "LAB_DISTRO": "debian12"}
    log = Machine(CHECKOUT, name).folder / "log" / "benchmark.log"
    began = time.perf_counter()
    command = [sys.executable, "vagrant/lab.py", *arguments]
    ended = subprocesses.run(command, log=log, env=environment, cwd=CHECKOUT, limit=LIMIT)
    if ended.status != 0:
        raise failures.failure(" ".join(arguments), ended, log)
    return time.perf_counter() - began


def one_round(kind: str, chapters: Sequence[str], durations: Seconds) -> None:
    """What a learner waits for, on a machine of this kind. Raises Problem."""
    work = {
        "from nothing to a server": ("up",),
        f"chapters {' '.join(chapters)}": ("course", *chapters),
        "off": ("stop",),
        "on again, with the application": ("up",),
        "back to the bare server": ("restore", "bare"),
    }
    try:
        for title, command in work.items():
            durations.setdefault(title, []).append(seconds := lab(kind, *command))
            line(f"  {KINDS[kind]}: {title}: {seconds:.1f} s")
    finally:
        lab(kind, "destroy", "--yes")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--chapters", nargs="+", default=["00", "01", "02"])
    options = parser.parse_args()
    durations: dict[str, Seconds] = {kind: {} for kind in KINDS}
    for kind in KINDS:  # image and box are there: no part of what is measured
        lab(kind, "up")
        lab(kind, "destroy", "--yes")
    for _ in range(options.rounds):
        for kind in KINDS:
            one_round(kind, options.chapters, durations[kind])
    rows = [
        (
            title,
            *(spread(durations[kind][title]) for kind in KINDS),
            f"{median(durations['libvirt'][title]) / median(durations['docker'][title]):.1f}",
        )
        for title in durations["docker"]
    ]
    show("The same work", ("", *KINDS.values(), "ratio"), rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Problem as problem:
        sys.exit(f"{problem.sentence}: {', '.join(problem.next_steps)}")
