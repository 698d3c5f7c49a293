"""The application, put together from its parts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from lab_app import (
    __version__,
    chat,
    health,
    llm,
    metrics,
    middleware,
    migrations,
    problem_details,
    rate_limit,
)
from lab_app.documents import Documents
from lab_app.ledger import Ledger
from lab_app.redis_store import RedisStore
from lab_app.settings import Settings

logger = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    client = llm.connect(settings)
    ledger = Ledger(settings)
    store = RedisStore(settings.redis_url)
    documents = Documents(settings, client) if settings.chroma_url else None
    metrics.budget.set(settings.daily_budget_usd)
    metrics.cost.labels(settings.openai_model)  # from 0 on: what begins with its first call hides its cost
    answering = chat.Chat(settings, client, store, ledger, documents)

    configured = settings.openai_api_key is not None
    models = client.models.list if configured else "OPENAI_API_KEY is not set"  # the list costs nothing
    probes = [
        health.Probe("database", ledger.look, critical=True),
        health.Probe("vector_db", documents.look if documents else "CHROMA_URL is not set", critical=True),
        health.Probe("cache", store.redis.ping if settings.redis_url else "REDIS_URL is not set"),
        # It may run without one, but it is no use.
        health.Probe("openai_api", models, whole="healthy" if configured else "degraded"),
    ]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if ledger.engine.dialect.name == "sqlite":
            await migrations.migrate(ledger.engine)  # a server's database is migrated when it is deployed
        fields = {"event_type": "startup", "version": __version__, "openai_configured": configured}
        logger.info("the application has started", extra=fields)
        if not settings.api_keys:
            logger.warning("API_KEYS is not set: everyone may ask", extra={"event_type": "startup"})
        # So that the log says at once what is missing, and the first who asks need not wait.
        first_looks = asyncio.gather(*(probe.refresh() for probe in probes))
        yield
        # The server comes here when the last request in flight has been answered.
        first_looks.cancel()
        await ledger.engine.dispose()
        logger.info("everything in flight has finished: stopped", extra={"event_type": "shutdown"})

    described = "/openapi.json" if settings.api_docs else None  # without it there is no /docs either
    app = FastAPI(title="lab_app", version=__version__, lifespan=lifespan, openapi_url=described)

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"application": app.title, "version": app.version, "chat": "/api/chat", "health": "/health"}

    app.include_router(health.router(probes))
    app.include_router(chat.router(answering, rate_limit.RateLimit(settings, store)))
    app.include_router(metrics.router)
    problem_details.install(app)
    app.add_middleware(middleware.around_each_request)
    return app
