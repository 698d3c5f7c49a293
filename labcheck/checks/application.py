"""Which processes are the application: what several checks must agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from labcheck.checks.model import Target
from labcheck.errors import Unreadable
from labcheck.facts.accounts import Accounts
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes

# Programs that run another one: their command line names the application, but they are not it.
_CARRIERS = frozenset(
    {
        "sudo",
        "su",
        "runuser",
        "bash",
        "sh",
        "dash",
        "timeout",
        "nohup",
        "env",
        "ssh",
        "sshd",
        "systemd",
        "(sd-pam)",
    }
)
_APP_WORD = re.compile(r"\s([\w.]+:(?:app|application|create_app)\b(?:\(\))?)")


def listeners(sockets: Sequence[Socket], target: Target) -> tuple[Socket, ...]:
    """The processes that listen where the proxy expects the application."""
    listening = tuple(item for item in sockets if item.protocol == "tcp" and item.port == target.app_port)
    if any(not item.pids for item in listening):
        raise Unreadable(f"whose socket {target.app_port}/tcp is, only root may see")
    return listening


def processes_of_app(
    processes: Processes, sockets: Sequence[Socket], accounts: Accounts, target: Target
) -> tuple[Process, ...]:
    """What listens on its port, whatever runs the same application beside it, all their children, and what
    else works under its account or out of its folder. Sessions of people are not among them."""
    here = [process for process in processes.all if not process.contained]
    pids = {pid for item in listeners(sockets, target) for pid in item.pids if pid != 1}
    words = {
        match[1] for process in here if process.pid in pids for match in _APP_WORD.finditer(process.arguments)
    }
    account = accounts.by_name(target.account)
    for process in here:
        if process.name in _CARRIERS or process.name.startswith("sudo"):
            continue
        own_word = _APP_WORD.search(process.arguments)
        if own_word and own_word[1] in words:
            pids.add(process.pid)
        if account and account.uid and (account.uid in process.uids or _runs_out_of(process, account.home)):
            pids.add(process.pid)
    return tuple(process for process in processes.below(pids) if not process.contained)


def serving(candidates: Sequence[Process], sockets: Sequence[Socket]) -> tuple[Process, ...]:
    """Those of these processes that answer requests: they listen, and no child of theirs does it for them."""
    listening = {pid for item in sockets if item.protocol == "tcp" for pid in item.pids}
    parents = {process.parent for process in candidates if process.pid in listening}
    return tuple(process for process in candidates if process.pid in listening - parents)


def serving_processes(
    processes: Processes, sockets: Sequence[Socket], accounts: Accounts, target: Target
) -> tuple[Process, ...]:
    """The application's processes that answer requests. Raises Unreadable."""
    return serving(processes_of_app(processes, sockets, accounts, target), sockets)


def servers(
    processes: Processes, sockets: Sequence[Socket], accounts: Accounts, target: Target
) -> dict[int, frozenset[int]]:
    """By port where the application answers, the processes behind it and their children."""
    by_pid = {process.pid: process for process in processes_of_app(processes, sockets, accounts, target)}
    words = {
        word
        for socket in listeners(sockets, target)
        for pid in socket.pids
        if pid in by_pid
        for word in _APP_WORD.findall(by_pid[pid].arguments)
    }
    behind: dict[int, set[int]] = {}
    for socket in sockets:
        own = {pid for pid in socket.pids if pid in by_pid}
        serves = any(words & set(_APP_WORD.findall(by_pid[pid].arguments)) for pid in own)
        if socket.protocol == "tcp" and own and (serves or socket.port == target.app_port):
            behind.setdefault(socket.port, set()).update(process.pid for process in processes.below(own))
    return {port: frozenset(pids) for port, pids in sorted(behind.items())}


def _runs_out_of(process: Process, home: str) -> bool:
    return bool(home.strip("/")) and any(
        word.startswith(home + "/") for word in process.arguments.split()[:2]
    )


def called(process: Process) -> str:
    """A short name without anything that changes at the next start: the program, and what it serves."""
    word = _APP_WORD.search(process.arguments)
    port = re.search(r"--port[ =](\d+)", process.arguments)
    words = [process.name, word[1] if word else "", f"on port {port[1]}" if port else ""]
    return " ".join(part for part in words if part)
