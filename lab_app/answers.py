"""Answers that were given before: the same question need not be paid for twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict

from lab_app.shared import Shared

MOST = 1000  # answers in the memory of a process without Redis


class Answers:
    """A cache in Redis, or in memory where none is configured. `seconds`: how long an answer lives."""

    def __init__(self, shared: Shared | None, seconds: int) -> None:
        self.shared = shared
        self.seconds = seconds
        self.own: OrderedDict[str, tuple[float, str]] = OrderedDict()

    @staticmethod
    def key(*parts: str) -> str:
        """Where an answer is kept: it follows from all that the answer follows from."""
        return "answer:" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    async def get(self, key: str) -> str | None:
        if self.shared is not None:
            found = await self.shared.ask(lambda redis: redis.get(key))
            return str(found) if found else None
        until, text = self.own.get(key, (0.0, ""))
        return text if time.monotonic() < until else None

    async def put(self, key: str, text: str) -> None:
        if not self.seconds:
            return
        if self.shared is not None:
            await self.shared.ask(lambda redis: redis.set(key, text, ex=self.seconds))
            return
        self.own[key] = (time.monotonic() + self.seconds, text)
        while len(self.own) > MOST:
            self.own.popitem(last=False)
