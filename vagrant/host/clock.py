"""The server's clock, which stands still while a machine is off, paused or kept in a snapshot."""

from __future__ import annotations

import time

from .machine import Machine
from .progress import Problem


def set_clock(machine: Machine) -> float:
    """Give the server this computer's time if it is off by over a second; returns by how many seconds."""
    before = time.time()
    answer = machine.ssh("server", "date -u +%s.%N")
    try:
        off = (before + time.time()) / 2 - float(answer.stdout)
    except ValueError:
        raise Problem(f"the server does not tell its time: {answer.stderr.strip()}", "run it again") from None
    if abs(off) > 1:
        answer = machine.ssh("server", f"sudo -n date -u --set=@{time.time():.2f}")
        if answer.returncode != 0:
            raise Problem(f"the server's clock cannot be set: {answer.stderr.strip()}", "run it again")
    return off
