"""The chapters: which there are, running them, and going to the start of one."""

from __future__ import annotations

import re
from pathlib import Path

from . import readiness, snapshots, subprocesses
from .environment import Environment
from .machine import Machine
from .progress import Problem, line

DEPLOYED = "09"  # after it all fifteen are green; the chapters that follow leave the server as they found it


def files(checkout: Path) -> list[Path]:
    """The chapters that there are, in order."""
    return sorted((checkout / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def numbers(checkout: Path) -> list[str]:
    """Their numbers."""
    return [path.name[:2] for path in files(checkout)]


def number(text: str, checkout: Path) -> str:
    """A chapter's number as it was typed (4, 04, 04_logging), checked. Raises Problem."""
    digits = re.match(r"\d{1,2}", text)
    known = numbers(checkout)
    if digits is None or digits.group().zfill(2) not in known:
        there = f"{known[0]} to {known[-1]}" if known else "none"
        raise Problem(
            f"there is no chapter {text or '(none given)'}",
            f"chapters here: {there}; type: make goto CHAPTER=01",
        )
    return digits.group().zfill(2)


def path_to(chapter: str, known: list[str], saved: list[str]) -> tuple[str, list[str]]:
    """The snapshot to restore and the chapters to run from there, to stand at the start of `chapter`.

    Raises Problem where there is no snapshot to start from.
    """
    before = [other for other in known if other < chapter]
    for count in range(len(before), 0, -1):
        if snapshots.name_after(before[count - 1]) in saved:
            return snapshots.name_after(before[count - 1]), before[count:]
    if snapshots.BARE not in saved:
        raise Problem(
            "the snapshot of the bare server is gone, and there is none to start from",
            "make the server anew: make destroy, then make lab",
        )
    return snapshots.BARE, before


def run(machine: Machine, environment: Environment, words: list[str]) -> int:
    """Run chapters unattended, with their progress; the exit status of labkit.course, which reads `words`."""
    command = [str(environment.python), "-m", "labkit.course", *words]
    return subprocesses.foreground(command, env=context(machine), cwd=machine.checkout)


def context(machine: Machine) -> dict[str, str]:
    """The environment in which labkit's programs find this machine."""
    return {"LABCHECK_CONFIG": str(machine.labcheck), "LAB_MACHINE": machine.name}


def goto(machine: Machine, environment: Environment, chapter: str) -> None:
    """Stand at the start of `chapter`, if need be by the steps of those before it. Raises Problem."""
    if not machine.ssh_config.exists():
        raise Problem("there is no server yet", "make it first: make lab")
    name, before = path_to(chapter, numbers(machine.checkout), machine.provider.saved(machine))
    snapshots.restore(machine, name)
    if before:
        line(f"  --  no snapshot of the start of chapter {chapter}: first the steps of {', '.join(before)}")
        if run(machine, environment, ["--steps", *before]) != 0:
            raise Problem(
                f"a chapter before {chapter} did not run through",
                "its output is above; go back with: make goto CHAPTER=" + before[0],
            )
        readiness.after_restore(machine)
    line(f"The server is at the start of chapter {chapter}.")
