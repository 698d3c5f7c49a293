"""Dumps of databases that lie about."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
from pathlib import Path

from labcheck.remote.permissions import world_enterable

ENTRIES = 20000  # files that are looked at for open dumps
DUMP = re.compile(rb"PGDMP|-- *\r?\n-- PostgreSQL database|-- MySQL dump|-- MariaDB dump|/\*M?!999999")
PLACES = (
    "/var/backups", "/var/tmp", "/tmp", "/srv", "/opt", "/home", "/backup", "/backups", "/mnt", "/data",
    "/var/lib",
)  # fmt: skip


def open_dumps() -> list[str]:
    """Dumps of databases that every account of this server may read."""
    paths: list[str] = []
    entries = 0
    for place in filter(world_enterable, map(Path, PLACES)):
        for folder, inside, names in os.walk(place):
            deepest = len(Path(folder).relative_to(place).parts) >= 3
            inside[:] = [] if deepest else [name for name in inside if mode(folder, name) & stat.S_IXOTH]
            for name in names:
                entries += 1
                if entries > ENTRIES:
                    return paths
                path = Path(folder, name)
                readable = mode(folder, name)
                with contextlib.suppress(OSError, EOFError):
                    if stat.S_ISREG(readable) and readable & stat.S_IROTH and is_dump(path):
                        paths.append(str(path))
    return paths


def mode(folder: str, name: str) -> int:
    """Of a file itself, not of where it points; 0 where it has gone."""
    try:
        return Path(folder, name).lstat().st_mode
    except OSError:
        return 0


def is_dump(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as file:
            head = file.read(64)
    return bool(DUMP.match(head))
