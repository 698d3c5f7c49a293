"""Which addresses lead to the server: it sees for itself what arrives of what is sent to them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from labcheck import gather, remote_program
from labcheck.errors import Unreachable
from labcheck.remote.output import last_line
from labcheck.ssh import ANSWER, Connection

LIMIT = 60.0  # seconds; it ends by itself, whatever becomes of us
GRACE = 1.5  # seconds for what was sent last to arrive


@dataclass(frozen=True)
class Arrived:
    """Of each thing that was sent, by its number: the addresses to which it went, as the server has them.

    `problem` is why nothing could be seen; `lost` is how many packets came too fast to be looked at.
    """

    addresses: Mapping[int, frozenset[str]] = field(default_factory=dict)
    lost: int = 0
    problem: str = ""


class Watch:
    """The server watches while the body runs; `mark` is what to send there, as `mark-NUMBER.`"""

    def __init__(self, server: Connection) -> None:
        self.server = server
        self.mark = f"labcheck-{secrets.token_hex(8)}"
        self._printed = ""
        self._problem = ""
        self._ready = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        self._ready.wait(ANSWER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join(ANSWER)

    def _run(self) -> None:
        script = f"exec {remote_program.command('arrivals', self.mark, LIMIT)}"
        command = gather.reader(script, sudo=True)
        try:
            ended = self.server.run(command, stdin=script, timeout=LIMIT + 5, on_output=self._see, hold=True)
            if not self._printed:
                said = last_line(ended.stderr, f"exit status {ended.exit_status}")
                self._problem = f"what arrives at the server could not be watched: {said}"
        except Unreachable as problem:
            self._problem = f"{problem.host}: {problem.reason} ({problem.next})"
        finally:
            self._ready.set()

    def _see(self, text: str) -> bool:
        self._printed += text
        if "\n" in self._printed:
            self._ready.set()
        return self._enough.is_set()

    def arrived(self, sent: int) -> Arrived:
        """What has arrived, once all of so many things have, or nothing comes any more."""
        end = time.monotonic() + GRACE
        while len((found := self._read()).addresses) < sent and time.monotonic() < end and not found.problem:
            time.sleep(0.1)
        return found

    def _read(self) -> Arrived:
        lines = self._printed.rpartition("\n")[0].splitlines()
        if "not root" in lines:
            return Arrived(problem="what arrives at the server, only root may see")
        if "watching" not in lines:
            return Arrived(problem=self._problem or "the server did not begin to watch what arrives")
        addresses: dict[int, set[str]] = {}
        lost = 0
        for first, _, second in (line.partition(" ") for line in lines):
            if first == "lost":
                lost += int(second)
            elif first.isdigit():
                addresses.setdefault(int(first), set()).add(second)
        return Arrived({number: frozenset(each) for number, each in addresses.items()}, lost)
