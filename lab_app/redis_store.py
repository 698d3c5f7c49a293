"""Redis: what all processes of the application share. One that is down costs a request one short wait."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import Secret
from redis.asyncio import Redis
from redis.exceptions import RedisError

from lab_app.reasons import why

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURES = (RedisError, OSError, TimeoutError)
PAUSE = 3.0  # seconds for which one that failed is left alone
MOST = 1000  # values in the memory of a process without Redis
PROBE = ("health", "1")  # what a look writes; the key is the same each time, and goes by itself
PROBE_SECONDS = 10
# The library would wait without end, and try again three times.
LIMITS: dict[str, Any] = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": None}


class Memory:
    """What stands in for Redis where none is configured: the memory of this process."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[float, str]] = {}

    async def get(self, key: str) -> str | None:
        until, value = self.held.get(key, (0.0, ""))
        return value if time.monotonic() < until else None

    async def set(self, key: str, value: str, *, ex: int) -> None:
        self.held[key] = (time.monotonic() + ex, value)
        if len(self.held) > MOST:
            del self.held[next(iter(self.held))]

    async def aclose(self) -> None:
        """Nothing to close."""


class RedisStore:
    """A connection to Redis whose failure is an answer, None, and not an error."""

    def __init__(self, url: Secret[str] | None) -> None:
        self.redis: Any = Redis.from_url(url.get_secret_value(), **LIMITS) if url else Memory()
        self.again = float("-inf")

    async def look(self) -> None:
        """See whether Redis takes a value. Raises what is wrong.

        One that is full, or may not write, answers a PING all the same.
        """
        await self.redis.set(*PROBE, ex=PROBE_SECONDS)

    async def ask(self, question: Callable[[Any], Awaitable[T]]) -> T | None:
        """What Redis answers; None where it does not, and for PAUSE seconds afterwards without asking."""
        if time.monotonic() < self.again:
            return None
        try:
            return await question(self.redis)
        except FAILURES as error:
            self.again = time.monotonic() + PAUSE
            fields = {"event_type": "cache_error", "error": why(error)}
            logger.warning("Redis does not answer: each process goes on by itself", extra=fields)
            return None

    async def aclose(self) -> None:
        """Close its connections."""
        await self.redis.aclose()
