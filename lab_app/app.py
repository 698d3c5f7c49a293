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
    metrics,
    middleware,
    migrations,
    page,
    problem_details,
    stand_in,
)
from lab_app.clients import open_clients
from lab_app.settings import Settings

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the application talks to, say what it starts with, and close all of it at the end."""
    settings: Settings = app.state.settings
    metrics.budget.set(settings.daily_budget_usd)
    metrics.cost.labels(settings.openai_model)  # from 0 on: what begins with its first call hides its cost
    async with open_clients(settings) as clients:
        app.state.clients = clients
        app.state.probes = health.probes_of(settings, clients)
        if clients.ledger.engine.dialect.name == "sqlite":
            await migrations.migrate(clients.ledger.engine)  # a server's is migrated when it is deployed
        configured = settings.openai_api_key is not None
        fields = {"event_type": "startup", "version": __version__, "openai_configured": configured}
        logger.info("the application has started", extra=fields)
        if settings.is_stand_in:
            logger.warning(stand_in.SAYS_SO, extra={"event_type": "startup"})
        if not settings.api_keys:
            logger.warning("API_KEYS is not set: everyone may ask", extra={"event_type": "startup"})
        # So that the log says at once what is missing, and the first who asks need not wait.
        first_looks = asyncio.gather(*(probe.refresh() for probe in app.state.probes))
        yield
        # The server comes here when the last request in flight has been answered.
        first_looks.cancel()
        await health.stop(app.state.probes)
    logger.info("everything in flight has finished: stopped", extra={"event_type": "shutdown"})


def create_app(settings: Settings) -> FastAPI:
    """The application with these settings. It talks to nothing before its lifespan begins."""
    described = "/openapi.json" if settings.api_docs else None  # without it there is no /docs either
    app = FastAPI(
        title="lab_app",
        version=__version__,
        lifespan=lifespan,
        openapi_url=described,
        middleware=middleware.MIDDLEWARE,
    )
    app.state.settings = settings

    # They are tried in this order: first what is asked for most often.
    app.include_router(health.router)
    app.include_router(chat.router)
    app.include_router(metrics.router)
    app.include_router(page.router)
    problem_details.install(app)
    return app
