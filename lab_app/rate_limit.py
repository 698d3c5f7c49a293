"""How often a client may ask: a window that moves, counted in Redis for all processes together."""

import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from lab_app.problem_details import Problem
from lab_app.redis_store import RedisStore
from lab_app.settings import Settings


class RateLimit:
    """So many requests a minute for each client; while Redis does not answer, for each process."""

    def __init__(self, settings: Settings, store: RedisStore) -> None:
        self.item = RateLimitItemPerMinute(settings.chat_limit)
        self.store = store
        self.alone = self.together = MovingWindowRateLimiter(MemoryStorage())
        if settings.redis_url is not None:
            url = f"async+{settings.redis_url.get_secret_value()}"
            # With the connections of the store, and so its time-outs; the store closes them.
            pool = store.redis.connection_pool
            storage = RedisStorage(url, implementation="redispy", connection_pool=pool)
            self.together = MovingWindowRateLimiter(storage)

    async def count(self, client: str) -> dict[str, str]:
        """Count a request; the RateLimit fields of draft-ietf-httpapi-ratelimit-headers-10, for the answer.

        Raises Problem, 429, where there were too many.
        """
        counted = await self.store.ask(lambda _: self.ask(self.together, client))
        allowed, left, reset = counted or await self.ask(self.alone, client)
        wait = max(math.ceil(reset - time.time()), 1)
        quota = self.item.amount
        fields = {"RateLimit-Policy": f'"chat";q={quota};w=60', "RateLimit": f'"chat";r={left};t={wait}'}
        if not allowed:
            detail = f"At most {quota} questions a minute: ask again in {wait} s."
            raise Problem(429, "too_many_requests", detail, fields | {"Retry-After": str(wait)})
        return fields

    async def ask(self, limiter: MovingWindowRateLimiter, client: str) -> tuple[bool, int, float]:
        """Whether it is allowed, how many are left, and the time when there will be one more."""
        allowed = await limiter.hit(self.item, client)
        reset, left = await limiter.get_window_stats(self.item, client)
        return allowed, left, reset
