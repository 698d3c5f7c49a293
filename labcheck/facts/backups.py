"""Facts about backups: what makes them, and what the store says of them.

What is asked, and how, is in remote/find_backups.py, which runs on the server. No password leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass

from labcheck.facts import Fact
from labcheck.remote_program import answer, command
from labcheck.result import Result


@dataclass(frozen=True)
class Job:
    """What starts a backup, or a drill of restoring. `ended` and `triggered` are seconds since 1970, None
    where that is not known; `result` is systemd's word for the last run since the boot."""

    kind: str  # backup or drill
    by: str  # timer or cron
    name: str
    unit: str
    enabled: bool
    active: bool
    ended: int | None
    triggered: int | None
    result: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Password:
    """One of the passwords that open the store: on which host it was made, and whether it is the server's."""

    host: str
    ours: bool


@dataclass(frozen=True)
class Held:
    path: str
    size: int


@dataclass(frozen=True)
class Store:
    """Where a job's copies are, and where it was `asked` what it says itself. `problem`: why it says no more.

    `place` is elsewhere, here or unknown; `delete` is refused, allowed or unknown; `shell` says that the
    server's key opens one there, None where there is no SSH. `size` is the newest copy's, in bytes, `dumps`
    are the dumps of databases in it, and `open` files here, with a password or key, that every account may
    read.
    """

    job: str
    where: str
    place: str
    host: str
    problem: str
    count: int
    newest: float | None
    size: int | None
    dumps: tuple[Held, ...]
    passwords: tuple[Password, ...] | None
    shell: bool | None
    delete: str
    open: tuple[str, ...]
    asked: bool = True


@dataclass(frozen=True)
class State:
    """What remembers something, by name: on this server, and on others that it uses."""

    here: tuple[str, ...]
    elsewhere: tuple[str, ...]


@dataclass(frozen=True)
class Backups:
    """`state` names what remembers something."""

    now: float
    host: str
    state: State
    jobs: tuple[Job, ...]
    stores: tuple[Store, ...]
    dumps: tuple[str, ...]

    def of(self, kind: str) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.kind == kind)


def parse_backups(result: Result) -> Backups:
    return answer(result, Backups, "the search for backups")


backups = Fact("backups", command("find_backups", "observe"), parse_backups, sudo=True, timeout=120)
