"""An application that Supervisor runs, as the tests of items 7 and 9 change it."""

from __future__ import annotations

from dataclasses import replace

from labcheck.checks.model import Target
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes

TARGET = Target(host="server", domain="app.lab.example")
INIT = Process(1, 0, "systemd", frozenset({0}), frozenset({0}), 0xFF, "/sbin/init", False)
SUPERVISORD = Process(700, 1, "supervisord", frozenset({0}), frozenset({0}), 0xFF, "supervisord -n", False)
LINE = "/home/aiapp/app/.venv/bin/python /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --port 8000"
WORKER = Process(800, 700, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE, False)
RUNNING = Processes((INIT, SUPERVISORD, WORKER))
SOCKETS = (Socket("tcp", "127.0.0.1", 8000, "uvicorn", (800,)),)
KNOWN = Accounts(
    (
        Account("root", 0, frozenset({"root"}), "/root", "/bin/bash"),
        Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),
    ),
    {0: "root", 1001: "aiapp", 998: "docker"},
)
BARE = Accounts(KNOWN.all[:1], KNOWN.group_ids)


def with_worker(**changes: object) -> Processes:
    return Processes((INIT, SUPERVISORD, replace(WORKER, **changes)))  # type: ignore[arg-type]


def with_second(**changes: object) -> Processes:
    second = replace(WORKER, pid=900, **changes)  # type: ignore[arg-type]
    return Processes((*RUNNING.all, second))
