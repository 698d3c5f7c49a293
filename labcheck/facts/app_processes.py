"""Facts that remote/app_processes.py finds out on the server: where errors go, and what was spent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from labcheck import remote_program
from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result
from labcheck.ssh import Connection


@dataclass(frozen=True)
class Tracked:
    """A process that was told of a collector of errors: `status` is what that answers to its key, and `error`
    why it does not."""

    pid: int
    collector: str
    project: str
    status: int | None
    error: str


@dataclass(frozen=True)
class Counts:
    """What one process counts, before and after the ledger was asked: numbers of /metrics by name."""

    pid: int
    port: int
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True)
class Spent:
    """`since_first` and `since_last` are what the ledger holds since the first and the last of the processes
    was started: the truth about what they count lies between. `calls` that used tokens since then, or the
    newest one if there was none since; `unpriced` without a cost among them. `log` and `costs` are what each
    request cost, by the log and by the ledger.
    """

    processes: tuple[Counts, ...]
    since_first: Decimal
    since_last: Decimal
    calls: int
    unpriced: int
    log: Mapping[str, Decimal]
    costs: Mapping[str, Decimal]


def answer(result: Result, what: str) -> Any:
    """The JSON that the program printed. Raises Unreadable."""
    try:
        return json.loads(remote_program.printed(result, f"the look at {what}"))
    except ValueError:
        raise Unreadable(f"what the look at {what} says is not understood") from None


def parse_tracked(result: Result) -> tuple[Tracked, ...]:
    try:
        return tuple(Tracked(**it) for it in answer(result, "where errors go"))
    except TypeError:
        raise Unreadable("what the look at where errors go says is not understood") from None


def parse_spent(result: Result) -> Spent:
    found = answer(result, "what is spent")
    try:
        if found["error"]:
            raise Unreadable(found["error"])
        ledger = found["ledger"]
        return Spent(
            tuple(Counts(**it) for it in found["processes"]),
            Decimal(ledger["since_first"]),
            Decimal(ledger["since_last"]),
            ledger["calls"],
            ledger["unpriced"],
            {number: Decimal(cost) for number, cost in found["log"].items()},
            {number: Decimal(cost) for number, cost in found["costs"].items()},
        )
    except (TypeError, KeyError, InvalidOperation):
        raise Unreadable("what the look at what is spent says is not understood") from None


def parse_refusals(result: Result) -> dict[str, int]:
    found = answer(result, "what was refused")
    if not isinstance(found, dict) or not all(isinstance(count, int) for count in found.values()):
        raise Unreadable("what the look at what was refused says is not understood")
    return found


def ask(server: Connection, what: str, *given: Any) -> Any:
    """What the program finds out as root. What is given to it is in no command line. Raises Unreadable."""
    result = remote_program.run_as_root(server, "app_processes", what, *given)
    return answer(result, "the application's processes")


tracking = Fact(
    "tracking",
    remote_program.command("app_processes", "tracked"),
    parse_tracked,
    sudo=True,
    timeout=30,
)
refusals = Fact(
    "refusals",
    remote_program.command("app_processes", "refused"),
    parse_refusals,
    sudo=True,
    timeout=30,
)
spending = Fact(
    "spending",
    remote_program.command("app_processes", "spent"),
    parse_spent,
    sudo=True,
    timeout=30,
    late=True,
)
