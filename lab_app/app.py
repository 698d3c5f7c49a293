"""The application, put together from its parts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from lab_app import __version__, chat, health, llm, problems
from lab_app.middleware import BodyLimit, RequestLog
from lab_app.settings import Settings

logger = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024  # bytes: a question of 4,000 characters, however it is escaped
SLOWEST_BODY = 10  # seconds


def create_app(settings: Settings) -> FastAPI:
    client = llm.connect(settings)

    async def look_at_openai() -> str | None:
        assert client is not None
        return await llm.probe(client)

    not_used = "this version of the application uses none"
    no_key = "OPENAI_API_KEY is not set"
    probes = [
        health.Probe("database", None, critical=True, absent=not_used),
        health.Probe("vector_db", None, critical=True, absent=not_used),
        health.Probe("cache", None, absent=not_used),
        health.Probe("openai_api", look_at_openai if client else None, absent=no_key, absent_is="degraded"),
    ]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fields = {"version": __version__, "openai_configured": client is not None}
        logger.info("the application has started", extra={"event_type": "startup", **fields})
        # So that the log says at once what is missing, and the first who asks need not wait.
        first_looks = [asyncio.create_task(probe.refresh()) for probe in probes]
        yield
        # The server comes here when the last request in flight has been answered.
        for look in first_looks:
            look.cancel()
        if client is not None:
            await client.close()
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
    app.include_router(chat.router(client, settings))
    problems.install(app)
    app.add_middleware(BodyLimit, size=LARGEST_BODY, seconds=SLOWEST_BODY)
    app.add_middleware(RequestLog)  # added last, so outermost
    return app
