"""What remembers something: databases here, and those that are used elsewhere."""

from __future__ import annotations

import contextlib
import re

from labcheck.remote import procfs
from labcheck.remote.backups.commands import Json, addresses, own_addresses

SERVERS = {"postgres": "PostgreSQL", "mysqld": "MySQL", "mariadbd": "MariaDB", "mongod": "MongoDB"}
USED = re.compile(r"(?:postgres(?:ql)?|mysql|mariadb|mongodb)(?:\+\w+)?://(?:[^@/\s\0]*@)?\[?([^\]/:\s\0]+)")
DATABASE_FILE = re.compile(r"/(home|srv|opt|data|var/www)/.*\.(db|sqlite3?)$")
LOOPBACK = re.compile(r"localhost$|127\.|::1$")


def state() -> Json:
    """What remembers: database servers and SQLite files here, and database servers elsewhere."""
    here: set[str] = set()
    elsewhere: set[str] = set()
    for process in procfs.processes():
        with contextlib.suppress(OSError):
            name = process.name()
            if name in SERVERS:
                here.add(SERVERS[name])
            elif name == "chroma" or b"chromadb" in process.command_line():
                here.add("Chroma")
            here.update(str(path) for _, path in process.open_files() if DATABASE_FILE.match(str(path)))
            elsewhere.update(host for value in process.environment().values() for host in USED.findall(value))
    own = own_addresses()
    away = [host for host in elsewhere if not LOOPBACK.match(host) and not addresses(host) & own]
    return {"here": sorted(here), "elsewhere": sorted(away)}
