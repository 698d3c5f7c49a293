"""The application's short time limits, raised for every test that is not about one of them.

A computer that is busy with other work leaves a healthy server unheard for longer than the application waits:
it then goes on without that server, as it is made to. Only a test of a server that hangs may depend on that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_app import documents, health, ledger, llm, middleware, redis_store

GENEROUS = 60.0  # seconds

Put = Callable[[Any, str, Any], object]  # as setattr is

_REDIS = {"socket_timeout": GENEROUS, "socket_connect_timeout": GENEROUS}
_RAISED: tuple[tuple[Any, str, Any], ...] = (
    (redis_store, "LIMITS", redis_store.LIMITS | _REDIS),
    (health, "DEADLINE", GENEROUS),
    (health, "GIVEN_UP_AFTER", GENEROUS),
    (ledger, "LIMIT", GENEROUS),
    (documents, "LIMIT", GENEROUS),
    (llm, "CONNECT", GENEROUS),
    (middleware, "SLOWEST", GENEROUS),
)
_OWN = [(module, name, getattr(module, name)) for module, name, _ in _RAISED]


def put_generous(put: Put = setattr) -> None:
    """A generous limit in the place of each, for applications that are made from now on."""
    for limit in _RAISED:
        put(*limit)


def put_own(put: Put = setattr) -> None:
    """The application's own limits, for a server that hangs."""
    for limit in _OWN:
        put(*limit)


def clock(*pids: int) -> float:
    """Seconds that go by, but for those in which this process or one of `pids` waited for a processor.

    For a limit that is a contract: other programs of a busy computer do not count. Where the kernel does not
    say how long a process waited (proc(5), schedstat), it is the monotonic clock.
    """
    waited = 0
    for process in ("self", *pids):
        with suppress(OSError):
            waited += int(Path(f"/proc/{process}/schedstat").read_text().split()[1])
    return time.monotonic() - waited / 1e9
