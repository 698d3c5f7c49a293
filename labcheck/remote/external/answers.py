"""What an answer of the probe is made of, and the words for a connection that did not come about."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
BODY_LIMIT = 65536  # bytes


class Unseen(Exception):
    """Could not be looked at; the text says why."""


def answer(ask: Callable[[], Any]) -> Json:
    try:
        return {"value": ask()}
    except Unseen as reason:
        return {"unreadable": str(reason)}
    except Exception as error:  # noqa: BLE001  one question that fails must not take the others along
        return {"unreadable": f"the probe failed: {type(error).__name__}: {error}"}


def family(address: str) -> int:
    return 6 if ":" in address else 4


def why(error: BaseException) -> str:
    """One word or two for a connection that did not come about; the same on every run."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return "refused"
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL):
        return "unreachable"
    if number in (errno.ECONNRESET, errno.EPIPE):
        return "reset"
    return getattr(error, "reason", None) or str(error) or type(error).__name__


def value(got: Json) -> Any:
    return got.get("value")
