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
from functools import partial
from typing import Annotated, Any, Literal

import openai
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from lab_app import metrics, reasons, stand_in
from lab_app.clients import Clients
from lab_app.settings import Settings

logger = logging.getLogger(__name__)

# How bad it is, and so the level at which it is logged.
BADNESS = {"healthy": logging.INFO, "degraded": logging.WARNING, "unhealthy": logging.CRITICAL}
DEADLINE = 0.7  # seconds for one look: the whole answer must be there within 1 s
LATE = "no answer within 700 ms"
SHARED_FOR = 1.0  # seconds for which a look serves everyone who asks
GIVEN_UP_AFTER = 3.0  # seconds for a look that is late

NO_LIST = (404, 405, 501)  # what an address without a list of models answers when it is asked for it
VALUES = {"healthy": 1.0, "unhealthy": 0.0, "unknown": float("nan")}  # of the metric

# Looks at the real thing; raises what is wrong with it.
Look = Callable[[], Awaitable[object]]


class Unknown(reasons.Reason):
    """Nothing can be said yet, and the text says why."""


@dataclass
class Probe:
    """One dependency. However many ask, one look is under way, and its result is shared.

    `look` may be a sentence instead: why there is nothing to look at, for which `status` is the word.
    `critical`: without it the whole is unhealthy, not degraded.
    """

    name: str
    look: Look | str
    critical: bool = False
    whole: str = "healthy"  # what the whole is, if it depended on this component alone
    status: str = "not_configured"
    started: float = float("-inf")
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.component: dict[str, Any] = {"status": self.status, "latency_ms": None, "reason": self.look}

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
            self.note("unhealthy", LATE)

    async def run(self, look: Look) -> None:
        # A look that is late goes on for a while: the connection that it opens makes the next one quick.
        try:
            async with asyncio.timeout(GIVEN_UP_AFTER):
                await look()
            status, reason = "healthy", None
        except Unknown as error:
            status, reason = "unknown", str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not well
            status, reason = "unhealthy", reasons.why(error)
        in_time = time.monotonic() - self.started < DEADLINE
        self.note(status, reason) if in_time else self.note("unhealthy", LATE)

    def note(self, status: str, reason: str | None) -> None:
        before, self.status = self.status, status
        latency = round((time.monotonic() - self.started) * 1000, 1)
        self.component = {"status": status, "latency_ms": latency, "reason": reason}
        self.whole = "healthy" if status == "healthy" else "unhealthy" if self.critical else "degraded"
        metrics.health.labels(self.name).set(VALUES[status])
        if before != status:
            fields = {"event_type": "health_change", "component": self.name, "error": reason}
            logger.log(BADNESS[self.whole], "%s is %s", self.name, status, extra=fields)


async def stop(probes: list[Probe]) -> None:
    """End the looks that are under way, before the clients that they use are closed."""
    tasks = [probe.task for probe in probes if probe.task is not None]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=DEADLINE)


async def look_at_model(clients: Clients) -> None:
    """Ask for the list of models, which costs nothing. Raises what is wrong.

    An address that has no list is as its latest call in this process went, however long ago. No question is
    asked to find out more: that would be paid for.
    """
    try:
        await clients.openai.models.list()
    except openai.APIStatusError as error:
        if error.status_code not in NO_LIST:
            raise
        if not clients.latest_call.known:
            raise Unknown("it has no list of models: known after the first question") from error
        if failed := clients.latest_call.failed:
            raise reasons.Reason(f"it has no list of models, and the latest call failed: {failed}") from error


def probes_of(settings: Settings, clients: Clients) -> list[Probe]:
    """A probe for each component, those that are not configured too."""
    documents = clients.documents.look if clients.documents else "CHROMA_URL is not set"
    if settings.is_stand_in:
        model = Probe("openai_api", stand_in.SAYS_SO, whole="degraded", status="stand_in")
    elif settings.openai_api_key is None:
        # The application may run without one, but it is no use.
        model = Probe("openai_api", "OPENAI_API_KEY is not set", whole="degraded")
    else:
        model = Probe("openai_api", partial(look_at_model, clients))
    return [
        Probe("database", clients.ledger.look, critical=True),
        Probe("vector_db", documents, critical=True),
        Probe("cache", clients.store.look if settings.redis_url else "REDIS_URL is not set"),
        model,
    ]


async def get_probes(request: Request) -> list[Probe]:
    """Those that the lifespan has made."""
    probes: list[Probe] = request.app.state.probes
    return probes


ProbesDep = Annotated[list[Probe], Depends(get_probes)]


class Component(BaseModel):
    # unknown: nothing can be said before the first question; stand_in: no language model answers.
    status: Literal["healthy", "unhealthy", "unknown", "not_configured", "stand_in"]
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
