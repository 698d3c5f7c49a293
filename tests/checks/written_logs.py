"""An application whose two processes write the four logs, as the tests of logs and rotation change it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from labcheck.checks.logs import AppLogs, app_logs_of
from labcheck.checks.model import Target
from labcheck.facts.accounts import Account, Accounts
from labcheck.facts.logs import File, Held, LogFiles
from labcheck.facts.network import Socket
from labcheck.facts.processes import Process, Processes

TARGET = Target(host="server", domain="app.lab.example")
NOW = datetime(2026, 11, 26, 5, 31, 30, tzinfo=UTC).timestamp()
FOLDER = "/var/log/aiapp"
NAMES = ("app", "access", "error", "metrics")
CLIENT = "198.51.100.2"
LINE = "/home/aiapp/app/.venv/bin/python /home/aiapp/app/.venv/bin/uvicorn lab_app.main:app --port {}"
INIT = Process(1, 0, "systemd", frozenset({0}), frozenset({0}), 0xFF, "/sbin/init", False)
CRON = replace(INIT, pid=500, parent=1, name="cron", arguments="/usr/sbin/cron -f")
ONE, TWO = (
    Process(pid, 1, "uvicorn", frozenset({1001}), frozenset({1001}), 0, LINE.format(port), False)
    for pid, port in ((800, 8000), (801, 8001))
)
RUNNING = Processes((INIT, ONE, TWO))
SOCKETS = tuple(
    Socket("tcp", "127.0.0.1", port, "uvicorn", (pid,)) for pid, port in ((800, 8000), (801, 8001))
)
KNOWN = Accounts(
    (
        Account("root", 0, frozenset({"root"}), "/root", "/bin/bash"),
        Account("aiapp", 1001, frozenset({"aiapp"}), "/home/aiapp", "/bin/bash"),
    ),
    {0: "root", 1001: "aiapp", 4: "adm"},
)


def path(name: str) -> str:
    return f"{FOLDER}/{name}.log"


def line(seconds_ago: float = 5.0, **fields: object) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(NOW - seconds_ago, UTC).isoformat(timespec="microseconds")
    head = {
        "timestamp": stamp.removesuffix("+00:00") + "Z",
        "level": "INFO",
        "message": "said",
        "event_type": "application",
        "request_id": None,
    }
    return head | fields


def request(request_id: str = "own-1", path: str = "/health/live", **fields: object) -> dict[str, Any]:
    asked = {"event_type": "request", "request_id": request_id, "ip_address": CLIENT, "method": "GET"}
    return line(**{**asked, "path": path, "status_code": 200, "duration_ms": 1.5, **fields})  # type: ignore[arg-type]


def failure(**fields: object) -> dict[str, Any]:
    return line(level="ERROR", event_type="error", message="it failed", **fields)  # type: ignore[arg-type]


CALL = line(event_type="llm_call", request_id="chat-1", model="small", duration_ms=9.5,
            prompt_tokens=7, completion_tokens=5, cost_usd=None)  # fmt: skip
SAID: dict[str, list[dict[str, Any]]] = {
    "app": [line(60.0), request(), failure(), CALL],
    "access": [request()],
    "error": [failure()],
    "metrics": [CALL],
}
LOG = File(stat.S_IFREG | 0o640, 1001, 1001, 500, int(NOW) - 3600)
FILES = {path(name): LOG for name in NAMES} | {
    FOLDER: File(stat.S_IFDIR | 0o750, 1001, 1001, 4096, None),
    "/var/log": File(stat.S_IFDIR | 0o755, 0, 0, 4096, None),
    "/var": File(stat.S_IFDIR | 0o755, 0, 0, 4096, None),
}
HELD = tuple(
    Held(pid, fd, path(name), written_last=True) for pid in (800, 801) for fd, name in enumerate(NAMES, 3)
)


def files(
    records: dict[str, list[dict[str, Any]]] | None = None,
    *,
    held: tuple[Held, ...] = HELD,
    also: dict[str, File] | None = None,
    texts: Iterable[str] = (),
) -> LogFiles:
    """A server where each process writes the four logs; `records` replaces what is in some of them."""
    lines = {path(name): tuple(map(json.dumps, some)) for name, some in (SAID | (records or {})).items()}
    return LogFiles(NOW, held, FILES | (also or {}), lines, frozenset(texts))


def values(log_files: LogFiles | None = None, **others: object) -> dict[str, Any]:
    """What every criterion about logs gets."""
    here = {"running": RUNNING, "sockets": SOCKETS, "known": KNOWN, "files": log_files or files()}
    return {**here, "target": TARGET, **others}


def app_logs(log_files: LogFiles | None = None) -> AppLogs:
    return app_logs_of(**values(log_files))
