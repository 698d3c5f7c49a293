"""One lab.py at a time may change a machine, and what it starts itself, as a chapter saving its snapshot."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .progress import Problem

HELD = "LAB_LOCKS_HELD"  # in the environment of children: the locks that ancestors of theirs hold

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def hold(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock` while the body runs; raises Problem where another lab.py holds it.

    The system lets go of it when the process ends, however it ends: there is no stale lock to remove.
    """
    held = [each for each in os.environ.get(HELD, "").split(os.pathsep) if each]
    if str(lock) in held:
        yield
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    # The holder's words lie beside the lock: on Windows a locked file cannot be read.
    note = lock.with_suffix(".by")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)  # closed on exec: children do not inherit it
    try:
        try:
            _take(handle)
        except OSError:
            holder = note.read_text(encoding="utf-8").strip() if note.exists() else "another lab.py"
            raise Problem(
                f"{holder} is at work on this machine", "wait until it has ended, or end it with Ctrl-C there"
            ) from None
        note.write_text(f"{what} (process {os.getpid()})\n", encoding="utf-8")
        os.environ[HELD] = os.pathsep.join([*held, str(lock)])
        try:
            yield
        finally:
            os.environ[HELD] = os.pathsep.join(held)
            note.unlink(missing_ok=True)
    finally:
        os.close(handle)
