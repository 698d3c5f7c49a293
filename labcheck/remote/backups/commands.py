"""What the search for backups uses of the host: commands with a limit, small files, addresses."""

from __future__ import annotations

import glob
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

Json = dict[str, Any]
ASK = 40  # seconds for one question to a store, on a slow server that is busy with something better
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str, seconds: float = ASK, **more: Any) -> subprocess.CompletedProcess[str] | None:
    """What a command printed, or None if it is not there or takes too long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
            stdin=subprocess.DEVNULL, **more,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None


def text_of(path: str) -> str:
    """A small text file, or nothing."""
    try:
        file = Path(path)
        if file.is_file() and file.stat().st_size < 256 * 1024:
            return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        pass
    return ""


def matching(pattern: str) -> list[str]:
    return glob.glob(pattern)  # noqa: PTH207


def own_addresses() -> set[str]:
    listed = run("ip", "-o", "address")
    return set(re.findall(r"inet6? ([\d.a-f:]+)", listed.stdout)) if listed else set()


def addresses(host: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
