"""What the application talks to: a client of each, opened when it starts and closed when it stops."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

import openai

from lab_app import llm
from lab_app.documents import Documents
from lab_app.ledger import Ledger
from lab_app.rate_limit import RateLimit
from lab_app.redis_store import RedisStore
from lab_app.settings import Settings


@dataclass(frozen=True)
class Clients:
    """One of each for a process; every request uses the same."""

    openai: openai.AsyncOpenAI
    latest_call: llm.LatestCall
    store: RedisStore
    rate_limit: RateLimit
    ledger: Ledger
    documents: Documents | None  # None without CHROMA_URL


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """The clients, closed in the opposite order. None connects yet: what is down does not stop the start."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(llm.connect(settings))
        store = await stack.enter_async_context(aclosing(RedisStore(settings.redis_url)))
        ledger = await stack.enter_async_context(aclosing(Ledger(settings)))
        documents = None
        if settings.chroma_url:
            documents = await stack.enter_async_context(aclosing(Documents(settings, model)))
        yield Clients(model, llm.LatestCall(), store, RateLimit(settings, store), ledger, documents)
