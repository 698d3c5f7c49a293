"""The application, put together from its parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from lab_app import __version__, chat, health, llm, metrics, problems
from lab_app.answers import Answers
from lab_app.documents import Documents
from lab_app.ledger import Ledger, address
from lab_app.limits import Limit
from lab_app.middleware import BodyLimit, RequestLog
from lab_app.migrations import migrate
from lab_app.settings import Settings
from lab_app.shared import Shared

logger = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024  # bytes: a question of 4,000 characters, however it is escaped
SLOWEST_BODY = 10  # seconds


def create_app(settings: Settings) -> FastAPI:
    client = llm.connect(settings)
    url = address(settings)
    books = Ledger(url)
    redis = settings.redis_url.get_secret_value() if settings.redis_url else ""
    shared = Shared(redis) if redis else None
    documents = Documents(str(settings.chroma_url), client, settings) if settings.chroma_url else None
    answering = chat.Chat(settings, client, Answers(shared, settings.cache_seconds), books, documents)

    not_set = "{} is not set".format
    probes = [
        health.Probe("database", books.look, critical=True),
        health.Probe(
            "vector_db", getattr(documents, "look", None), critical=True, absent=not_set("CHROMA_URL")
        ),
        health.Probe("cache", getattr(shared, "look", None), absent=not_set("REDIS_URL")),
        health.Probe(
            "openai_api", partial(llm.look, client) if client else None, absent=not_set("OPENAI_API_KEY")
        ),
    ]
    probes[-1].whole = "degraded" if client is None else "healthy"  # it may run without one, but it is no use

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if url.startswith("sqlite"):
            await asyncio.to_thread(migrate, url)  # a server's database is migrated when it is deployed
        fields = {"version": __version__, "openai_configured": client is not None}
        logger.info("the application has started", extra={"event_type": "startup", **fields})
        if not settings.api_keys:
            logger.warning("API_KEYS is not set: everyone may ask", extra={"event_type": "startup"})
        # So that the log says at once what is missing, and the first who asks need not wait.
        first_looks = [asyncio.create_task(probe.refresh()) for probe in probes]
        yield
        # The server comes here when the last request in flight has been answered.
        for look in first_looks:
            look.cancel()
        await asyncio.gather(*answering.writing)
        if client is not None:
            await client.close()
        await books.close()
        logger.info("everything in flight has finished: stopped", extra={"event_type": "shutdown"})

    app = FastAPI(
        title="lab_app",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/openapi.json" if settings.api_docs else None,  # without it there is no /docs either
    )

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"application": app.title, "version": app.version, "chat": "/api/chat", "health": "/health"}

    app.include_router(health.router(probes))
    app.include_router(chat.router(answering, Limit(settings.chat_limit, shared, redis)))
    app.include_router(metrics.router())
    problems.install(app)
    app.add_middleware(BodyLimit, size=LARGEST_BODY, seconds=SLOWEST_BODY)
    app.add_middleware(RequestLog)  # added last, so outermost
    return app
