"""What is raised where something cannot be known: each says why, and what to do next."""

from __future__ import annotations

from labcheck.result import Result


class ConfigError(Exception):
    """There is no usable configuration; the text says what is wrong and what to do."""


class Unreachable(Exception):
    """The host could not be asked: `reason` says why, `next` what a person can do about it.

    `reason` is the same words for the same cause; what ssh said of it, with addresses and ports, is `detail`.
    `partial` is what had come when the connection was lost in the middle of a command, else None.
    """

    def __init__(
        self, host: str, reason: str, next: str, partial: Result | None = None, detail: str = ""
    ) -> None:
        said = f"; ssh says: {detail}" if detail else ""
        super().__init__(f"cannot reach {host}: {reason} ({next}{said})")
        self.detail = detail
        self.host = host
        self.reason = reason
        self.next = next
        self.partial = partial


class Unreadable(Exception):
    """An output that says nothing certain. Its text completes "could not look: …"."""
