"""What a command printed, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

TIMED_OUT = 124
"""The exit status of a command that was stopped at its time limit, as coreutils' timeout gives it."""
CUT_SHORT = 141
"""The exit status of a command that was stopped because it printed too much, as one that `head` left."""


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended. 124 is a time limit that ran out."""

    stdout: str
    stderr: str
    exit_status: int
