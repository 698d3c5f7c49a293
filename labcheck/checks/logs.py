"""Which log files are the application's: what several checks must agree on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from labcheck.checks.application import listeners, servers
from labcheck.checks.model import Criterion, Need, Target, criterion
from labcheck.errors import Unreadable
from labcheck.facts import Fact
from labcheck.facts.accounts import Accounts, accounts
from labcheck.facts.logs import File, Held, LogFiles, log_files
from labcheck.facts.network import Socket, listening_sockets
from labcheck.facts.processes import Process, Processes, processes
from labcheck.gather import Observation
from labcheck.verdict import Finding, failed

KINDS = ("application", "access", "error", "metrics")
_RUNTIMES = frozenset({"docker-proxy", "conmon", "rootlessport", "pasta"})
NEEDS: dict[str, Fact[Any]] = {
    "running": processes,
    "sockets": listening_sockets,
    "known": accounts,
    "files": log_files,
}


@dataclass(frozen=True)
class Log:
    """A log file of the application, by its name before any rotation, and the processes that hold it open."""

    path: str
    writers: tuple[Process, ...]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """What it is for, as its name says; what says nothing else is the log of everything."""
        words = {"access": "access", "err": "error", "metric": "metrics"}
        return next((kind for word, kind in words.items() if word in self.name), "application")


@dataclass(frozen=True)
class AppLogs:
    """What a running application writes to. `behind` has, by port, the processes that answer there."""

    logs: tuple[Log, ...]
    behind: dict[int, frozenset[int]]
    files: LogFiles
    running: Processes
    known: Accounts
    target: Target

    def of(self, *kinds: str) -> tuple[Log, ...]:
        """The logs of these kinds, or all of them."""
        return tuple(log for log in self.logs if log.kind in (kinds or KINDS))

    def names(self, *kinds: str) -> str:
        return ", ".join(log.name for log in self.of(*kinds))

    def held_by_writers(self, log: Log) -> tuple[Held, ...]:
        """Under which names the application has it open at present."""
        pids = {process.pid for process in log.writers}
        return tuple(held for held in self.files.held if held.log == log.path and held.pid in pids)


def app_logs_of(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, files: LogFiles, target: Target
) -> AppLogs:
    """The logs that the processes which answer for the application hold open."""
    behind = servers(running, sockets, known, target)
    pids = frozenset().union(*behind.values())
    holders: dict[str, dict[int, Process]] = {}
    for held in files.held:
        process = running.by_pid(held.pid)
        if held.log and held.pid in pids and process:
            holders.setdefault(held.log, {})[held.pid] = process
    logs = [Log(path, tuple(those.values())) for path, those in holders.items()]
    in_order = sorted(logs, key=lambda log: (KINDS.index(log.kind), log.path))
    return AppLogs(tuple(in_order), behind, files, running, known, target)


def app_logs_in(observed: Observation, target: Target) -> AppLogs:
    """The same of an observation that an exercise has made."""
    return app_logs_of(
        observed[processes],
        observed[listening_sockets],
        observed[accounts],
        observed[log_files],
        target=target,
    )


def log_criterion(**needs: Need) -> Callable[[Callable[..., Iterator[Finding]]], Criterion]:
    """As `criterion`, for a function whose first parameter is `AppLogs`: called where there are any."""

    def make(judge: Callable[..., Iterator[Finding]]) -> Criterion:
        def with_logs(
            running: Processes,
            sockets: tuple[Socket, ...],
            known: Accounts,
            files: LogFiles,
            target: Target,
            **others: Any,
        ) -> Iterator[Finding]:
            app_logs = app_logs_of(running, sockets, known, files, target)
            if app_logs.logs:
                yield from judge(app_logs, **others)

        with_logs.__name__ = judge.__name__
        # It asks for what `app_logs_of` needs, and for what the judge says.
        own = list(inspect.signature(judge).parameters.values())[1:]
        *common, _ = inspect.signature(with_logs).parameters.values()
        whole = [*common, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        with_logs.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]
        return Criterion({**NEEDS, **needs}, with_logs)

    return make


@criterion(**NEEDS)
def it_writes_to_files(
    running: Processes, sockets: tuple[Socket, ...], known: Accounts, files: LogFiles, target: Target
) -> Iterator[Finding]:
    """The application has log files at all; where something else keeps its log, that cannot be observed."""
    for pid in {pid for socket in listeners(sockets, target) for pid in socket.pids}:
        process = running.by_pid(pid)
        if process and (process.contained or process.name in _RUNTIMES):
            raise Unreadable("the application runs in a container, whose runtime keeps its log")
    logs = app_logs_of(running, sockets, known, files, target)
    if logs.logs:
        return
    pids = frozenset().union(*logs.behind.values())
    ends = {held.path for held in files.held if held.pid in pids and held.fd in (1, 2)}
    if "" in ends:
        raise Unreadable("the kernel does not tell which files the application has open")
    if ends and all(end.startswith("socket:") for end in ends):
        raise Unreadable("the application's output goes to a socket, as to systemd's journal, and to no file")
    observed = "the application writes to no log file"
    if not pids:
        observed = "no process of the application runs, so nothing is logged"
    elif any(end.startswith("pipe:") for end in ends):
        observed += ": its output goes through a pipe to another program"
    yield failed(
        observed,
        expected="each of its processes holds an application, access, error and metrics log open",
        why="what is written nowhere cannot be looked up when a user complains",
        next="name a folder for the logs (LOG_DIR=/var/log/aiapp), and restart the application",
    )


def may_write(process: Process, file: File) -> bool:
    """Whether a process may open a file for writing, or make one in a folder."""
    if 0 in process.uids or (file.uid in process.uids and file.mode & 0o200):
        return True
    return bool(file.mode & 0o002) or (file.gid in process.groups and bool(file.mode & 0o020))
