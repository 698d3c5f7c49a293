"""The processes of this host, as the kernel shows them in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GONE = (FileNotFoundError, ProcessLookupError)
"""What is raised where a process, or a file of it, is not there any more."""


class Process:
    """A process. Whatever is asked of it may raise one of GONE, for it may have ended, or PermissionError."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.folder = Path("/proc", str(pid))

    def uid(self) -> int:
        return self.folder.stat().st_uid

    def name(self) -> str:
        """The first 15 characters of it. See `program` for all of them."""
        return (self.folder / "comm").read_text(errors="replace").strip()

    def command_line(self) -> bytes:
        """Its arguments, each ended by a zero byte; nothing for a thread of the kernel."""
        return (self.folder / "cmdline").read_bytes()

    def arguments(self) -> list[str]:
        return self.command_line().decode("utf-8", "surrogateescape").split("\0")[:-1]

    def program(self) -> str:
        """The file name of the program that it says it is, "" for a thread of the kernel."""
        return next(iter(self.arguments()), "").rpartition("/")[2]

    def environment(self) -> dict[str, str]:
        """The variables that it was started with. Bytes that are no UTF-8 are kept, as Python does it."""
        text = (self.folder / "environ").read_bytes().decode("utf-8", "surrogateescape")
        return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)

    def status(self, field: str) -> list[str]:
        """The words of a field of its status, as of Uid."""
        lines = (self.folder / "status").read_text(errors="replace").splitlines()
        return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))

    def working_folder(self) -> Path:
        return (self.folder / "cwd").readlink()

    def is_contained(self) -> bool:
        """Whether it has another root folder than we have, as in a container."""
        return not os.path.samestat((self.folder / "root").stat(), Path("/").stat())

    def open_files(self) -> Iterator[tuple[str, Path]]:
        """(descriptor, what it leads to) for each that stays open while it is looked at."""
        for link in sorted((self.folder / "fd").iterdir()):
            try:
                yield link.name, link.readlink()
            except GONE:
                continue

    def open_flags(self, descriptor: str) -> int:
        """How it was opened, as in fcntl.h."""
        text = (self.folder / "fdinfo" / descriptor).read_text()
        return int(text.split("flags:")[1].split()[0], 8)


def processes() -> list[Process]:
    """All that run here, by number, those in containers too; some may have ended already."""
    return [Process(pid) for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit())]  # noqa: PTH208
