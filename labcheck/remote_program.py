"""Facts that a program of remote/ finds out on the server: how it gets there, and what it printed."""

from __future__ import annotations

import shlex
from pathlib import Path

from labcheck.errors import Unreadable
from labcheck.result import Result


def program(name: str, call: str) -> str:
    """The program `name` of remote/, with the call that has it do something."""
    source = Path(__file__).with_name("remote").joinpath(f"{name}.py").read_text(encoding="utf-8")
    return f"{source}\n{call}\n"


def command(name: str, call: str) -> str:
    """What runs that program on the server."""
    return "python3 -IS -c " + shlex.quote(program(name, call))


def printed(result: Result, what: str) -> str:
    """What the program printed. Raises Unreadable where it did not run to its end; `what` names it."""
    if result.exit_status == 127:
        raise Unreadable("python3 is not installed on the server")
    if result.exit_status != 0:
        said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Unreadable(f"{what} ended with status {result.exit_status}: {said}")
    return result.stdout
