"""What routes ask for by its type. A test replaces one through `app.dependency_overrides[get_…]`.

They are coroutines although none waits: FastAPI sends plain functions through a pool of threads.
"""

from typing import Annotated

import openai
from fastapi import Depends, Request

from lab_app.clients import Clients
from lab_app.documents import Documents
from lab_app.ledger import Ledger
from lab_app.llm import LatestCall
from lab_app.rate_limit import RateLimit
from lab_app.redis_store import RedisStore
from lab_app.settings import Settings


async def get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def get_clients(request: Request) -> Clients:
    """Those that the lifespan has opened."""
    clients: Clients = request.app.state.clients
    return clients


SettingsDep = Annotated[Settings, Depends(get_settings)]
ClientsDep = Annotated[Clients, Depends(get_clients)]


async def get_openai(clients: ClientsDep) -> openai.AsyncOpenAI:
    return clients.openai


async def get_latest_call(clients: ClientsDep) -> LatestCall:
    return clients.latest_call


async def get_store(clients: ClientsDep) -> RedisStore:
    return clients.store


async def get_rate_limit(clients: ClientsDep) -> RateLimit:
    return clients.rate_limit


async def get_ledger(clients: ClientsDep) -> Ledger:
    return clients.ledger


async def get_documents(clients: ClientsDep) -> Documents | None:
    return clients.documents


OpenAIDep = Annotated[openai.AsyncOpenAI, Depends(get_openai)]
LatestCallDep = Annotated[LatestCall, Depends(get_latest_call)]
StoreDep = Annotated[RedisStore, Depends(get_store)]
RateLimitDep = Annotated[RateLimit, Depends(get_rate_limit)]
LedgerDep = Annotated[Ledger, Depends(get_ledger)]
DocumentsDep = Annotated[Documents | None, Depends(get_documents)]
