"""Health: is the process alive, may traffic come, and how is each thing that it depends on.

/health/live   asks nobody: a restart does not repair someone else's failure
/health/ready  looks at what the application cannot do without
/health        shows every component; the top line follows from them
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from lab_app import metrics, reasons
from lab_app.clients import Clients
from lab_app.settings import Settings

logger = logging.getLogger(__name__)

# How bad it is, and so the level at which it is logged.
BADNESS = {"healthy": logging.INFO, "degraded": logging.WARNING, "unhealthy": logging.CRITICAL}
DEADLINE = 0.7  # seconds for one look: the whole answer must be there within 1 s
LATE = "no answer within 700 ms"
SHARED_FOR = 1.0  # seconds for which a look serves everyone who asks
GIVEN_UP_AFTER = 3.0  # seconds for a look that is late

# Looks at the real thing; raises what is wrong with it.
Look = Callable[[], Awaitable[object]]


@dataclass
class Probe:
    """One dependency. However many ask, one look is under way, and its result is shared.

    `look` may be a sentence instead: why there is nothing to look at. `critical`: without it the whole is
    unhealthy, not degraded.
    """

    name: str
    look: Look | str
    critical: bool = False
    whole: str = "healthy"  # what the whole is, if it depended on this component alone
    started: float = float("-inf")
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.component: dict[str, Any] = {"status": "not_configured", "latency_ms": None, "reason": self.look}

    async def refresh(self) -> None:
        """Look, unless the latest look is fresh. Takes DEADLINE at most, whatever the dependency does."""
        if isinstance(self.look, str):
            return
        now = time.monotonic()
        if self.task is None or (self.task.done() and now - self.started >= SHARED_FOR):
            self.started = now
            self.task = asyncio.create_task(self.run(self.look))
        # asyncio.wait keeps its deadline even where a library swallows the cancellation.
        done, _ = await asyncio.wait({self.task}, timeout=max(self.started + DEADLINE - now, 0))
        if not done:
            self.note(LATE)

    async def run(self, look: Look) -> None:
        # A look that is late goes on for a while: the connection that it opens makes the next one quick.
        try:
            async with asyncio.timeout(GIVEN_UP_AFTER):
                await look()
            reason = None
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            reason = reasons.why(error)
        self.note(reason if time.monotonic() - self.started < DEADLINE else LATE)

    def note(self, reason: str | None) -> None:
        before, after = self.component["status"], "unhealthy" if reason else "healthy"
        latency = round((time.monotonic() - self.started) * 1000, 1)
        self.component = {"status": after, "latency_ms": latency, "reason": reason}
        self.whole = "healthy" if reason is None else "unhealthy" if self.critical else "degraded"
        metrics.health.labels(self.name).set(reason is None)
        if before != after:
            fields = {"event_type": "health_change", "component": self.name, "error": reason}
            logger.log(BADNESS[self.whole], "%s is %s", self.name, after, extra=fields)


async def stop(probes: list[Probe]) -> None:
    """End the looks that are under way, before the clients that they use are closed."""
    tasks = [probe.task for probe in probes if probe.task is not None]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=DEADLINE)


def probes_of(settings: Settings, clients: Clients) -> list[Probe]:
    """A probe for each component, those that are not configured too."""
    configured = settings.openai_api_key is not None
    models = clients.openai.models.list if configured else "OPENAI_API_KEY is not set"  # it costs nothing
    documents = clients.documents.look if clients.documents else "CHROMA_URL is not set"
    return [
        Probe("database", clients.ledger.look, critical=True),
        Probe("vector_db", documents, critical=True),
        Probe("cache", clients.store.redis.ping if settings.redis_url else "REDIS_URL is not set"),
        # It may run without one, but it is no use.
        Probe("openai_api", models, whole="healthy" if configured else "degraded"),
    ]


async def get_probes(request: Request) -> list[Probe]:
    """Those that the lifespan has made."""
    probes: list[Probe] = request.app.state.probes
    return probes


ProbesDep = Annotated[list[Probe], Depends(get_probes)]


class Component(BaseModel):
    status: Literal["healthy", "unhealthy", "not_configured"]
    latency_ms: float | None
    reason: str | None


class Health(BaseModel):
    status: Literal["healthy", "degraded", "unhealthy"]
    components: dict[str, Component]


UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "Something critical does not answer: send no traffic."}
}
router = APIRouter(prefix="/health")


async def answer(probes: list[Probe]) -> JSONResponse:
    await asyncio.gather(*(probe.refresh() for probe in probes))
    whole = max((probe.whole for probe in probes), key=BADNESS.__getitem__)
    body = {"status": whole, "components": {probe.name: probe.component for probe in probes}}
    return JSONResponse(body, 503 if whole == "unhealthy" else 200, {"Cache-Control": "no-store"})


# Monitors and balancers ask with HEAD as well: the same status, without the body.
@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", response_model=Health, responses=UNHEALTHY)
async def ready(probes: ProbesDep) -> JSONResponse:
    return await answer([probe for probe in probes if probe.critical])


@router.head("", include_in_schema=False)
@router.get("", response_model=Health, responses=UNHEALTHY)
async def health(probes: ProbesDep) -> JSONResponse:
    return await answer(probes)
