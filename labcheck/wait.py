"""Waiting for something to become true, with a reason when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a condition that does not hold yet; its text says why."""


class GaveUp(Exception):
    """What was waited for did not come in time; the text says what, how long, and what was seen last."""


def wait_until(
    condition: Callable[[], T | None], *, what: str, timeout: float, every: float = 0.5, now: bool = True
) -> T:
    """Ask `condition` every `every` seconds until it returns something true, and return that.

    A condition says "not yet" with a false value, or with NotYet and a reason. Raises GaveUp after `timeout`
    seconds; `what` completes "gave up waiting for …". Without `now`, the first question comes after `every`.
    """
    until = time.monotonic() + timeout
    reason = ""
    if not now:
        time.sleep(every)
    while True:
        try:
            if value := condition():
                return value
        except NotYet as problem:
            reason = str(problem)
        if time.monotonic() + every > until:
            last = f"; last seen: {reason}" if reason else ""
            raise GaveUp(f"gave up waiting for {what} after {timeout:g} s{last}")
        time.sleep(every)
