"""The program that asks an application, on its own server, while its logs are rotated: one run, JSON out.

It runs as root. It rotates by logrotate's real configuration, with a state of its own that calls the
application's logs overdue, and no others: only they are rotated, as they would be by night. Requests go to
127.0.0.1 alone, one after the other on each port, and end by themselves.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import http.client
import json
import lzma
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labcheck.remote.log_records import REQUEST_ID

TIME_LIMIT = 60.0  # s for all of it
ENOUGH = 60  # answers from each port before the rotation, and again after it
MOST = 20_000  # requests to each port: more than there is time for
PAUSE = 0.003  # s between two of them
ANSWER = 5.0  # s for one answer
WRITTEN = 3.0  # s after which a line is in its file, or lost
FAULTS = 20  # requests in a row without an answer that are enough
PATH = "/health/live"

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@dataclass
class Outcome:
    """What was asked, and where it was found. `refused`: why nothing was rotated; `failed`: what went wrong.

    `before` and `after` are the ids of requests that were answered, the latter of those that were sent when
    logrotate had ended. `anywhere` and `new` are those that are in a log or one of its predecessors, and in
    the log itself, by its path.
    """

    refused: str = ""
    failed: str = ""
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    anywhere: dict[str, list[str]] = field(default_factory=dict)
    new: dict[str, list[str]] = field(default_factory=dict)


class Refused(Exception):
    """Nothing was changed; the text says why."""


def until(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True


# ---- load --------------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """Asks one port again and again, and notes each answer's id and when it was asked for."""

    def __init__(self, port: int, mark: str, enough: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.mark, self.enough = port, f"{mark}-{port}", enough
        self.answers: list[tuple[str, float]] = []
        self.fault = ""

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER)
        faults = 0
        for number in range(MOST):
            if self.enough.is_set() or faults == FAULTS:
                break
            own, sent = f"{self.mark}-{number}", time.monotonic()
            try:
                connection.request("GET", PATH, headers={"X-Request-ID": own, "User-Agent": "labcheck"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.fault = f"{self.port}/tcp: {type(error).__name__}"
                faults += 1
                continue
            faults = 0
            self.answers.append((response.getheader("X-Request-ID") or own, sent))
            time.sleep(PAUSE)
        connection.close()

    def since(self, moment: float) -> int:
        return sum(sent > moment for _, sent in self.answers)


def too_silent(asking: list[Visitor], since: float) -> str:
    """Wait until each port has given enough answers since that moment; which one did not, or ""."""

    def have_enough() -> bool:
        return all(client.since(since) >= ENOUGH for client in asking)

    until(lambda: have_enough() or not all(client.is_alive() for client in asking), TIME_LIMIT / 3)
    slow = [client for client in asking if client.since(since) < ENOUGH]
    if not slow:
        return ""
    return slow[0].fault or f"{slow[0].port}/tcp: only {slow[0].since(since)} answers"


@contextlib.contextmanager
def visitors(ports: list[int], mark: str) -> Iterator[list[Visitor]]:
    enough = threading.Event()
    threads = [Visitor(port, mark, enough) for port in ports]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        enough.set()
        for thread in threads:
            thread.join(2 * ANSWER)


# ---- rotation ----------------------------------------------------------------------------------


def logrotate(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    return subprocess.run(
        ["logrotate", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        env=path,
        timeout=TIME_LIMIT,
    )


def overdue(folder: str, logs: list[str]) -> str:
    """The path of a state in which these logs were rotated long ago, and nothing is known of any other."""
    state = Path(folder) / "state"
    entries = "".join(f'"{log}" 2000-1-1-0:0:0\n' for log in logs)
    state.write_text(f"logrotate state -- version 2\n{entries}", encoding="utf-8")
    state.chmod(0o640)
    return str(state)


def would_do(state: str, logs: list[str], configuration: str) -> str:
    """What logrotate says that it would do. Raises Refused unless that is to rotate these logs alone."""
    dry_run = logrotate("--debug", "--state", state, configuration).stdout
    rotating = set(re.findall(r"^rotating log (.+), log->rotateCount", dry_run, re.M))
    if others := sorted(rotating - set(logs)):
        raise Refused(f"logrotate would rotate {others[0]} as well, which is due")
    if not rotating:
        raise Refused("logrotate would rotate none of them")
    return dry_run


def size_and_number(log: str) -> tuple[int, int]:
    found = Path(log).stat()
    return found.st_size, found.st_ino


# ---- lines -------------------------------------------------------------------------------------


def ids_in(path: Path) -> set[str]:
    """The request ids in a log, packed or not."""
    with _OPENERS.get(path.suffix, open)(path, "rb") as file:
        return {match[1].decode(errors="replace") for line in file for match in REQUEST_ID.finditer(line)}


def predecessors(log: str, since: float, dry_run: str) -> list[Path]:
    """Files that the log's content may have come into since then: beside it, or where logrotate moves it."""
    moved = re.findall(rf"^(?:renaming|copying) {re.escape(log)} to (.+)$", dry_run, re.M)
    names = {
        path
        for name in (Path(log), *map(Path, moved))
        for path in name.parent.iterdir()
        if path.name.startswith((f"{name.name}.", f"{name.name}-")) or path in map(Path, moved)
    }
    return [name for name in sorted(names) if name.stat().st_ctime >= since]


def read(outcome: Outcome, logs: list[str], since: float, dry_run: str) -> bool:
    """Look where the ids are; whether all of them are somewhere in each log that has any."""
    sent = {*outcome.before, *outcome.after}
    for log in logs:
        new = ids_in(Path(log)) & sent if Path(log).exists() else set()
        old = [ids_in(name) & sent for name in predecessors(log, since, dry_run)]
        outcome.new[log], outcome.anywhere[log] = sorted(new), sorted(new.union(*old))
    return all(len(ids) in (0, len(sent)) for ids in outcome.anywhere.values())


# ---- all of it ---------------------------------------------------------------------------------


def rotate_under_load(mark: str, ports: list[int], logs: list[str], configuration: str) -> Outcome:
    """What becomes of requests whose ids begin with `mark`."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder, visitors(ports, mark) as asking:
        state = overdue(folder, logs)
        if silent := too_silent(asking, 0.0):
            raise Refused(silent)
        dry_run = would_do(state, logs, configuration)
        began, as_it_was = time.time() - 1, {log: size_and_number(log) for log in logs if Path(log).exists()}
        ran = logrotate("--state", state, configuration)
        ended = time.monotonic()
        if silent := too_silent(asking, ended):
            outcome.failed = f"{silent} afterwards"
    answers = [answer for one in asking for answer in one.answers]
    outcome.before = [own for own, sent in answers if sent <= ended]
    outcome.after = [own for own, sent in answers if sent > ended]
    until(lambda: read(outcome, logs, began, dry_run), WRITTEN, every=0.5)
    wrong = [line for line in ran.stdout.splitlines() if any(log in line for log in logs)]
    if ran.returncode != 0 and wrong:
        outcome.failed = wrong[-1]
    elif not outcome.failed and not any(_is_another(log, before) for log, before in as_it_was.items()):
        outcome.failed = "each log is as it was before"
    return outcome


def _is_another(log: str, before: tuple[int, int]) -> bool:
    """Whether it was renamed, or emptied."""
    if not Path(log).exists():
        return True
    size, number = size_and_number(log)
    return number != before[1] or size < before[0]


def main(asked: dict[str, Any]) -> None:
    try:
        outcome = rotate_under_load(**asked)
    except Refused as reason:
        outcome = Outcome(refused=str(reason))
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
