"""What the commands of lab.py do with the server, but for those that test."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import (
    chapters,
    jupyter,
    lifecycle,
    snapshots,
    subprocesses,
    tools,
    uninstall,
)
from .bring_up import Lab
from .lock import hold
from .progress import Problem, agrees, called, line, seconds
from .settings import CHECKOUT


def lab_command(lab: Lab, *, with_jupyter: bool = True) -> int:
    port = jupyter.chosen_port() if with_jupyter else None
    started = time.monotonic()
    with hold(lab.machine.lock, called("lab")):
        lab.up(port)
    took = seconds(time.monotonic() - started)
    line(f"The server is ready ({took}). make check looks at it, make ssh logs in.")
    return jupyter.run(lab, port) if port is not None else 0


def ssh_command(lab: Lab, host: str, command: Sequence[str]) -> int:
    lab.machine.needed()
    return subprocesses.foreground(["ssh", "-F", str(lab.machine.ssh_config), host, *command])


def check_command(lab: Lab, arguments: Sequence[str]) -> int:
    """`arguments` are labcheck's."""
    if not lab.machine.labcheck.exists() or not lab.environment.python.exists():
        raise Problem("there is no server yet", "make it first: make lab")
    program = [str(lab.environment.program("labcheck")), *arguments]
    return subprocesses.foreground(program, env=chapters.context(lab.machine), cwd=CHECKOUT)


def course_command(lab: Lab, numbers: Sequence[str], *, save: bool, steps: bool, limit: float | None) -> int:
    """`limit`: seconds for one cell; None leaves it to labkit.course."""
    options = [flag for flag, wanted in (("--save", save), ("--steps", steps)) if wanted]
    options += [f"--timeout={limit}"] if limit is not None else []
    with hold(lab.machine.lock, called("course")):
        lab.machine.needed()
        return chapters.run(lab.machine, lab.environment, [*options, *numbers])


def snapshot_command(lab: Lab, chapter: str) -> int:
    name = snapshots.name_after(chapter)
    with hold(lab.machine.lock, called("snapshot")):
        lab.machine.needed()
        if snapshots.is_past(lab.machine, name):
            line(f"  --  the snapshot {name} stays as it was: the server is further on")
        else:
            snapshots.save(lab.machine, name)
    return 0


def restore_command(lab: Lab, name: str) -> int:
    with hold(lab.machine.lock, called("restore")):
        if not lab.machine.ssh_config.exists():
            raise Problem("there is no server yet", "make it first: make lab")
        snapshots.restore(lab.machine, name)
    return 0


def goto_command(lab: Lab, chapter: str) -> int:
    with hold(lab.machine.lock, called("goto")):
        chapters.goto(lab.machine, lab.environment, chapter)
    return 0


def stop_command(lab: Lab) -> int:
    with hold(lab.machine.lock, called("stop")):
        if not lab.machine.identity():
            line("  --  there is no server")
            return 0
        lifecycle.switch_off(lab.machine, "switching the server off")
    return 0


def destroy_command(lab: Lab, *, yes: bool) -> int:
    if not yes:
        if not sys.stdin.isatty():
            raise Problem("destroy asks first, and there is no one to ask", "lab.py destroy --yes")
        if not agrees(f"Remove the machine {lab.machine.name} with its snapshots?"):
            return 1
    with hold(lab.machine.lock, called("destroy")):
        lifecycle.destroy(lab.machine)
    return 0


def uninstall_command(lab: Lab, *, yes: bool) -> int:
    """All that is on this computer because of the lab, after a yes."""
    with ExitStack() as locks:
        for machine in uninstall.machines(CHECKOUT):
            locks.enter_context(hold(machine.lock, called("uninstall")))
        pieces = uninstall.pieces(CHECKOUT, Path(tempfile.gettempdir()) / "shipshape-uninstall.log")
        if not pieces:
            line("  --  nothing of the lab is on this computer")
            return 0
        line("On this computer because of the lab:")
        for piece in pieces:
            line(f"  {piece.title}")
        if others := uninstall.machines_of_others(CHECKOUT):
            line(f"  --  packages, images and boxes stay, for the others' machines: {', '.join(others)}")
        if not yes:
            if not sys.stdin.isatty():
                raise Problem("uninstall asks first, and there is no one to ask", "lab.py uninstall --yes")
            if not agrees("Remove all of it?"):
                return 1
        if any(piece.takes_root for piece in pieces):
            tools.may_become_root("python3 vagrant/lab.py uninstall")
        uninstall.remove_all(pieces)
    return 0
