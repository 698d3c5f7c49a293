"""A fact: one command, and one pure parser of what it printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from labcheck.result import Result

T = TypeVar("T")


@dataclass(frozen=True)
class Fact(Generic[T]):
    """What a check may want to know.

    `command` is bash, read-only, and cheap (no Python program where a kernel table answers).
    `parse` gets the whole Result (standard output, standard error, exit status), and raises
    Unreadable for whatever it does not know: it never guesses. "Not installed" or "no such file"
    is a value, not Unreadable: what is absent can be judged.
    `sudo` marks what only root can read. `timeout` is in seconds. `late` is asked after the requests from
    outside, for what they leave behind.
    """

    name: str
    command: str
    parse: Callable[[Result], T]
    sudo: bool = False
    timeout: float = 10.0
    late: bool = False
