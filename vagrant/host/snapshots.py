"""Snapshots of a server: what they are called, saved, and brought back with all that depends on time."""

from __future__ import annotations

from . import readiness
from .machine import Machine
from .progress import Problem
from .providers.provider import SNAPSHOT

BARE = "bare"  # the snapshot of the server as it was handed over


def name_after(chapter: str) -> str:
    return f"after-{chapter}"


def save(machine: Machine, name: str) -> None:
    """Save the server as it is now, over an older snapshot of that name."""
    machine.provider.save(machine, name)
    machine.state.remember("stands-at", name)


def is_past(machine: Machine, name: str) -> bool:
    """Whether the server has come further than `name`: a chapter done again does not take one back to it."""
    stands_at = machine.state.recall("stands-at")
    return stands_at != BARE and stands_at > name


def restore(machine: Machine, name: str) -> None:
    """Bring a snapshot back, and with it all that depends on time. Raises Problem."""
    if not SNAPSHOT.fullmatch(name):
        raise no_snapshot(machine, name, machine.provider.saved(machine))
    machine.hang_up()
    machine.state.forget("stands-at")
    try:
        machine.provider.restore(machine, name)
    except Problem:
        # Asked only now: each call of Vagrant costs seconds.
        if name in (names := machine.provider.saved(machine)):
            raise
        raise no_snapshot(machine, name, names) from None
    machine.state.remember("stands-at", name)
    readiness.after_restore(machine)


def no_snapshot(machine: Machine, name: str, names: list[str]) -> Problem:
    """What to say of a snapshot that is not there."""
    return Problem(
        f"the machine {machine.name} has no snapshot {name or '(none given)'}",
        f"snapshots of it: {', '.join(names) or 'none'}",
    )
