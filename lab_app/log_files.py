"""Log files: a line is formatted once and appended to every file that wants it, whatever the disk does."""

import contextlib
import errno
import logging
import os
import time
from pathlib import Path

from prometheus_client import Counter

FILES = ("app.log", "access.log", "error.log", "metrics.log")
MOMENT = 0.01  # seconds: far more than logrotate takes from its rename to its new file
COARSE = 2_000_000_000  # nanoseconds: no file system's clock has longer steps
QUIET = 60.0  # seconds between two complaints on standard error

dropped = Counter("app_log_lines_dropped", "Lines that a log file did not take", ["file"])


def files_of(record: logging.LogRecord) -> list[str]:
    """Everything is in app.log. Copies answer three questions: which requests came, what failed, and what did
    the model do and cost? Its calls that failed are in the last as well, or it would not show their share."""
    event_type = getattr(record, "event_type", None)
    names = ["app.log"]
    if event_type == "request":
        names.append("access.log")
    if record.levelno >= logging.ERROR:
        names.append("error.log")
    if event_type in ("llm_call", "llm_error"):
        names.append("metrics.log")
    return names


class LogFiles(logging.Handler):
    """FILES in a folder. Other processes append to them as well, and they are renamed when they are rotated.

    A line that one of them does not take is counted, and the next one is tried again.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.folder = str(folder)
        self.files = {name: self.open(name) for name in FILES}
        self.settled: int | None = None
        self.dropped, self.quiet_until = 0, 0.0

    def open(self, name: str) -> tuple[int, os.stat_result]:
        file = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        return file, os.fstat(file)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode() + b"\n"
        settled = self.is_settled()
        for name in files_of(record):
            try:
                if not settled:
                    self.follow(name)
                append(self.files[name][0], line)
            except OSError as error:
                self.drop(name, error)

    def is_settled(self) -> bool:
        """Whether no file was renamed since all of them were followed, which the folder's own time tells.

        One question for all files is quicker; and after a question about a file, the next write to it takes
        longer. A time is believed once it is so old that another change could not have the same.
        """
        try:
            changed = os.stat(self.folder).st_ctime_ns  # noqa: PTH116 - quicker
            if changed != self.settled and time.time_ns() - changed > COARSE and not self.has_links():
                for name in FILES:
                    self.follow(name)
                self.settled = changed
        except OSError:
            return False
        return changed == self.settled

    def has_links(self) -> bool:
        """Whether a file is in another folder, where it could be renamed as well."""
        return any(Path(self.folder, name).is_symlink() for name in FILES)

    def follow(self, name: str) -> None:
        """Open what has this name now, where that is another file than before. Raises OSError."""
        file, opened = self.files[name]
        try:
            if os.path.samestat(opened, os.stat(f"{self.folder}/{name}")):  # noqa: PTH116 - quicker
                return
        except OSError:
            if os.fstat(file).st_nlink:  # renamed: logrotate makes the new one, and would put aside any other
                time.sleep(MOMENT)
        self.files[name] = self.open(name)
        os.close(file)

    def drop(self, name: str, error: OSError) -> None:
        """Count a lost line, and say so on standard error, once a minute at most."""
        dropped.labels(name).inc()
        self.dropped += 1
        if time.monotonic() >= self.quiet_until:
            self.quiet_until = time.monotonic() + QUIET
            said = f"logs: {self.folder}/{name}: {error}. Lines lost so far: {self.dropped}\n"
            # Not by way of sys.stderr, whose buffer keeps what a full disk does not take, and fails at exit.
            with contextlib.suppress(OSError):
                os.write(2, said.encode(errors="backslashreplace"))


def append(file: int, line: bytes) -> None:
    """The whole line, or OSError."""
    written = os.write(file, line)  # one call, so that lines of several processes never mix
    if written < len(line):
        # What fitted becomes a blank line. Not cut off: another process may have appended behind it.
        start = os.lseek(file, 0, os.SEEK_CUR) - written
        with Path(f"/dev/fd/{file}").open("r+b", buffering=0) as not_appending:
            os.pwrite(not_appending.fileno(), b" " * (written - 1) + b"\n", start)
        raise OSError(errno.ENOSPC, "only a part of the line fitted")
