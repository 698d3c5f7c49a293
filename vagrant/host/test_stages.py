"""The stages of `make test`: what each runs, on which state of the server, and which are chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import chapters, snapshots
from .progress import Problem

STAGE_LIMIT = 7200.0  # seconds; the longest takes an hour on an emulated machine
NIGHT = 8 * 3600.0  # seconds; for a server for every mutant, each with all its items looked at


@dataclass(frozen=True)
class Stage:
    """One run of pytest on the server in the state of the snapshot `start`.

    The stage before leaves that state, unless it failed, or this one is to begin `afresh`. `makes`: the state
    that it leaves, and that later ones start from. `patient`: left out where the processor is emulated,
    unless it is asked for. `spare`: left out unless it is asked for, since another stage shows the same.
    `server`: on which of the servers that work side by side, as far as there are so many. `own`: it needs the
    snapshot that its server has made itself, not another one's copy. `limit`: seconds after which it is
    stopped.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    start: str
    afresh: bool = False
    makes: str = ""
    patient: bool = False
    spare: bool = False
    server: int = 1
    own: bool = False
    limit: float = STAGE_LIMIT

    @property
    def part(self) -> str:
        """What PART calls it: a stage in two halves is one part."""
        return re.sub(r"-\d$", "", self.name)


def stages(checkout: Path, every: bool, kind: Sequence[str] = (), by_steps: bool = False) -> list[Stage]:
    """The stages in their order: what shows a state of the server comes before what changes it.

    `every`: all mutants, not one for each item of the checklist; a hundred read-only checks where five are
    enough from day to day; a reboot outside of the last chapter; the chapters again with every cell, not only
    with those that do something. What they leave is the finished server. `kind`: the tests of this kind of
    machine. `by_steps`: the finished server is made by the chapters' steps alone, in a quarter of the time,
    while every output of the chapters is compared on another server.
    """
    files = chapters.files(checkout)
    notebooks = [str(path.relative_to(checkout)) for path in files]
    deploying = [
        name for path, name in zip(files, notebooks, strict=True) if path.name[:2] <= chapters.DEPLOYED
    ]
    finished, last = map(snapshots.name_after, (chapters.DEPLOYED, files[-1].name[:2]))
    tests = ("-m", "vm", "--tb=short", "--durations=10")
    cells = ("--nbval", "-p", "tests.notebooks.nbval_guard")
    title, program = "mutants, servers that look right and are wrong", (*tests, "tests/vm/test_4_mutants.py")
    extent = ("--all-mutants",) if every else ()
    # Not the server that is at chapters for longest.
    on = (1, 2, 3) if every else (2, 4) if by_steps else (1, 3)
    mutants = [
        Stage(f"mutants-{share}", f"{title}, {share} of {len(on)}",
              (*program, *extent, f"--share={share}/{len(on)}"), finished,
              server=server, limit=NIGHT if every else STAGE_LIMIT)
        for share, server in enumerate(on, start=1)
    ]  # fmt: skip
    return [
        Stage("bare", "the bare server, and the internet beside it",
              (*tests, "tests/vm/test_1_bare.py", "tests/provision"), start=snapshots.BARE, server=2),
        *([Stage("kind", "the kind of machine: what it separates, and its snapshots",
                 (*tests, *kind), start=snapshots.BARE, server=2)] if kind else []),
        Stage("steps", f"the steps alone of the chapters to {chapters.DEPLOYED}",
              (*cells, "--lab-run=steps", *deploying), start=snapshots.BARE, afresh=True,
              makes=finished if by_steps else "", spare=not by_steps, server=3),
        Stage("chapters-1", f"the chapters to {chapters.DEPLOYED}, every output compared",
              (*cells, *deploying), start=snapshots.BARE, afresh=True, makes=finished),
        Stage("chapters-2", "the chapters after it, every output compared",
              (*cells, *notebooks[len(deploying) :]), start=finished, makes=last, server=2),
        Stage("finished", "the finished server, and what cannot be seen of it",
              (*tests, "tests/vm/test_2_finished.py", *(("--many-looks",) if every else ())), start=finished,
              server=4 if by_steps else 1),
        Stage("again", "the chapters' steps again, on the finished server",
              (*cells, f"--lab-run={'again' if every else 'steps'}", *notebooks),
              start=finished, patient=not every, server=3),
        Stage("after-again", "what they leave", (*tests, "tests/vm/test_2_finished.py", "-k", "both_depths"),
              start=finished, patient=not every, server=3),
        Stage("long-answers", "answers that take three minutes, also over a release",
              (*tests, "tests/vm/test_6_long_answers.py"), start=finished, server=4),
        # The last chapter does the same, from a notebook.
        Stage("rebooted", "after a reboot", (*tests, "tests/vm/test_3_rebooted.py"), start=finished,
              spare=not every),
        *mutants,
        # Vagrant logs in with the key that it has made for the server of its snapshot alone.
        Stage("off", "a server that is off, and on again", (*tests, "tests/vm/test_5_off.py"), start=finished,
              afresh=True, own=True, server=3 if by_steps else 1),
    ]  # fmt: skip


def chosen(
    every: list[Stage], names: Sequence[str], saved: Sequence[str] = (), emulated: bool = False
) -> list[Stage]:
    """The stages of these names, or else all but the spare and, on an emulated machine, the patient ones.

    Before them, the first that makes a state which is not saved yet. Raises Problem for a name that no stage
    has.
    """
    known = [stage.part for stage in every]
    if wrong := [name for name in names if name not in known]:
        raise Problem(f"there is no part {wrong[0]}", f"the parts are: {', '.join(dict.fromkeys(known))}")
    left_out = [stage for stage in every if stage.spare or (emulated and stage.patient)]
    selected = [stage for stage in every if (stage.part in names if names else stage not in left_out)]
    makers: dict[str, Stage] = {}
    for stage in every:
        makers.setdefault(stage.makes, stage)
    missing = {stage.start for stage in selected} - set(saved)
    needed = [makers[name] for name in missing if name in makers]
    return [stage for stage in every if stage in selected or stage in needed]
