"""Facts that remote/app_processes.py finds out on the server: where errors go, and what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from labcheck import remote_program
from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.result import Result
from labcheck.ssh import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Tracked:
    """A process that has a collector of errors in its environment: `status` is what that answers to its key,
    and `error` why it does not."""

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
class Ledger:
    """What the ledger holds since the first and the last of the processes was started: the truth about what
    they count lies between. `calls` that used tokens since then, or the newest one if there was none since;
    `unpriced` without a cost among them.
    """

    since_first: Decimal
    since_last: Decimal
    calls: int
    unpriced: int


@dataclass(frozen=True)
class Spent:
    """`log` and `costs` are what each request cost in dollars, by the log and by the ledger."""

    processes: tuple[Counts, ...]
    ledger: Ledger
    log: Mapping[str, Decimal]
    costs: Mapping[str, Decimal]


@dataclass(frozen=True)
class Sent:
    """A command that was run as the application: its exit status, -1 where it could not be run, and the end
    of what it printed, or why it could not."""

    status: int
    output: str


@dataclass(frozen=True)
class Followed:
    """One question that was asked: the status of its answer, and its cost in dollars in three places. `error`
    says why it could not be followed."""

    status: int
    metric: float
    ledger: Decimal | None
    log: Decimal | None
    error: str


@dataclass(frozen=True)
class _Spending:
    """As the program prints it: `error` says why there is no ledger."""

    error: str
    processes: tuple[Counts, ...] = ()
    ledger: Ledger | None = None
    log: Mapping[str, Decimal] = field(default_factory=dict)
    costs: Mapping[str, Decimal] = field(default_factory=dict)


def parse_tracked(result: Result) -> tuple[Tracked, ...]:
    return remote_program.answer(result, tuple[Tracked, ...], "the check of where errors go")


def parse_spent(result: Result) -> Spent:
    what = "the check of what is spent"
    spending = remote_program.answer(result, _Spending, what)
    if spending.error:
        raise Unreadable(spending.error)
    if spending.ledger is None:
        raise Unreadable(f"what {what} says is not understood: it has no ledger")
    return Spent(spending.processes, spending.ledger, spending.log, spending.costs)


def parse_refusals(result: Result) -> dict[str, int]:
    return remote_program.answer(result, dict[str, int], "the check of what was refused")


def ask(server: Connection, shape: type[T], function: str, *arguments: Any) -> T:
    """What the program finds out as root, in this shape. What is given to it is in no command line. Raises
    Unreadable."""
    result = remote_program.run_as_root(server, "app_processes", function, *arguments)
    return remote_program.answer(result, shape, "the check of the application's processes")


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
