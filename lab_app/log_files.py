"""Log files: a line is formatted once and appended to every file that wants it, whatever the disk does."""

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter

# Everything, and copies for three questions: who came, what failed, and what did the model do and cost? Its
# calls that failed are in the last as well, or it would not show what share of them did.
FILES: dict[str, Callable[[logging.LogRecord], bool]] = {
    "app.log": lambda record: True,
    "access.log": lambda record: getattr(record, "event_type", None) == "request",
    "error.log": lambda record: record.levelno >= logging.ERROR,
    "metrics.log": lambda record: getattr(record, "event_type", None) in ("llm_call", "llm_error"),
}
MOMENT = 0.01  # seconds: far more than logrotate takes from its rename to its new file
QUIET = 60.0  # seconds between two complaints on standard error

dropped = dict.fromkeys(FILES, 0)  # lines that a file did not take, since the start of this process
dropped_ever = Counter("app_log_lines_dropped", "Lines that a log file did not take", ["file"])
quiet_until = 0.0


@dataclass
class LogFile:
    """One file, to which other processes append as well, and which is renamed when it is rotated."""

    path: Path
    fd: int = -1
    opened: os.stat_result | None = None  # what `fd` is
    lost: int = 0  # lines since it last took one

    def append(self, line: bytes) -> None:
        """The whole line, or OSError."""
        self.follow()
        written = os.write(self.fd, line)  # one call, so that lines of several processes never mix
        if written < len(line):
            # What fitted becomes a blank line. Not cut off: another process may have appended behind it.
            start = os.lseek(self.fd, 0, os.SEEK_CUR) - written
            with Path(f"/dev/fd/{self.fd}").open("r+b", buffering=0) as not_appending:
                os.pwrite(not_appending.fileno(), b" " * (written - 1) + b"\n", start)
            raise OSError(errno.ENOSPC, "only a part of the line fitted")

    def follow(self) -> None:
        """Open what is at the path now, where that is another file than before."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 - Path.stat takes longer, and this is for every line
            if self.opened and os.path.samestat(found, self.opened):
                return
        except OSError:
            if self.opened:  # logrotate is about to make it, and would put aside one that is there already
                time.sleep(MOMENT)
        self.opened = None  # so that it waits once a rotation, not once a line
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        except OSError as error:
            # A file that was renamed takes lines as before; one that was deleted would swallow them.
            if self.fd < 0 or os.fstat(self.fd).st_nlink == 0:
                raise
            complain(f"{error}: lines go to the file that had this name before")
            return
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.opened = fd, os.fstat(fd)


class LogFiles(logging.Handler):
    """FILES in a folder. Where one takes no lines it counts them, and tells once it takes them again."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.files = {name: LogFile(folder / name) for name in FILES}
        for file in self.files.values():
            file.follow()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode() + b"\n"
            for name, wants in FILES.items():
                if wants(record):
                    self.write(name, line)
        except Exception:  # noqa: BLE001 - what logging's own handlers do
            self.handleError(record)

    def write(self, name: str, line: bytes) -> bool:
        file = self.files[name]
        try:
            file.append(line)
        except OSError as error:
            file.lost += 1
            dropped[name] += 1
            dropped_ever.labels(name).inc()
            complain(f"{error}: lost lines of {file.path}: {dropped[name]}; each new line is tried")
            return False
        lost, file.lost = file.lost, 0
        if lost and not self.write("app.log", self.told(name, lost)):
            file.lost += lost  # to be said later
        return True

    def told(self, name: str, lost: int) -> bytes:
        fields = {"event_type": "log_dropped", "file": name, "dropped": lost}
        record = logging.LogRecord(
            __name__, logging.WARNING, "", 0, f"lost lines of {name}: {lost}", (), None
        )
        vars(record).update(fields)
        return self.format(record).encode() + b"\n"


def complain(problem: str) -> None:
    """On standard error, once a minute at most."""
    global quiet_until
    if time.monotonic() >= quiet_until:
        quiet_until = time.monotonic() + QUIET
        # Not by way of sys.stderr, whose buffer keeps what a full disk does not take and fails again at exit.
        with contextlib.suppress(OSError):
            os.write(2, f"logs: {problem}\n".encode(errors="backslashreplace"))
