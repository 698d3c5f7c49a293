"""Redis: what all processes of the application share. One that is down costs a request one short wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from lab_app.reasons import why

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURES = (RedisError, OSError, TimeoutError)
PAUSE = 3.0  # seconds for which one that failed is left alone
# The library would wait without end, and try again three times.
LIMITS: dict[str, Any] = {
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "retry": Retry(NoBackoff(), 0),
}


class Shared:
    """A connection to Redis whose failure is an answer, None, and not an error."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url, decode_responses=True, **LIMITS)
        self.again = float("-inf")

    async def ask(self, question: Callable[[Redis], Awaitable[T]]) -> T | None:
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

    async def look(self) -> None:
        """See whether it answers. Raises what is wrong."""
        await self.redis.ping()
