"""What the application opens at its start, it closes at its stop; a test replaces what a route asks for."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from lab_app import health, llm
from lab_app.app import create_app
from lab_app.clients import Clients
from lab_app.dependencies import get_ledger, get_openai, get_settings
from lab_app.ledger import Entry

from .conftest import client_of, settings
from .test_chat import HELLO, assert_problem
from .test_documents import EMBEDDING
from .time_limits import GENEROUS


async def connections(redis: Redis) -> int:
    return len(await redis.client_list()) - 1  # but for the one that asks


async def answered(app: FastAPI) -> Clients:
    """The clients of an application that was started, has answered a question, and was stopped."""
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        assert (await client.post("/api/chat", json=HELLO)).status_code == 200
        assert (await client.get("/health")).status_code == 200
        clients: Clients = app.state.clients
    return clients


async def test_clients_are_closed_when_the_application_stops(
    model: str, redis_url: str, chroma_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        made = settings(model, redis_url=redis_url, chroma_url=chroma_url, **EMBEDDING)
        clients = await answered(create_app(made))
        assert await connections(redis) == 0
    assert clients.openai.is_closed() and clients.documents and clients.documents.http.is_closed
    assert "Connections in pool: 0" in clients.ledger.engine.pool.status()


async def test_an_application_may_be_started_again(model: str) -> None:
    app = create_app(settings(model))
    first, second = await answered(app), await answered(app)
    assert first is not second


async def test_nothing_is_opened_before_the_start(model: str) -> None:
    assert not hasattr(create_app(settings(model)).state, "clients")


@pytest.mark.own_limits
@pytest.mark.parametrize("fault", ["silent", "dropping"])
async def test_a_stop_does_not_wait_for_what_does_not_answer(
    fault: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "GIVEN_UP_AFTER", GENEROUS)
    url = request.getfixturevalue(fault).removesuffix("/v1")
    where = url.removeprefix("http://")
    database = f"postgresql://a:secret@{where}/b"
    gone = settings(f"{url}/v1", chroma_url=url, redis_url=f"redis://{where}/0", database_url=database)
    async with client_of(gone) as client:
        assert (await client.get("/health")).status_code == 503
        began = time.monotonic()
    assert time.monotonic() - began < GENEROUS / 2


class Kept:
    """A ledger that keeps its rows in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    async def add(self, entry: Entry) -> None:
        self.entries.append(entry)


async def asked(app: FastAPI, **more: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        return await client.post("/api/chat", json=HELLO, **more)


async def test_a_dependency_is_replaced_by_an_override(model: str) -> None:
    app, kept = create_app(settings(model)), Kept()
    app.dependency_overrides[get_ledger] = lambda: kept
    assert (await asked(app)).status_code == 200
    assert [entry.outcome for entry in kept.entries] == ["answered"]


async def test_an_override_of_the_settings_holds_for_whoever_asks(model: str) -> None:
    app = create_app(settings(model))
    app.dependency_overrides[get_settings] = lambda: settings(model, api_keys="user_1:key-1")
    assert_problem(await asked(app), 401, "not_authenticated")
    assert (await asked(app, headers={"Authorization": "Bearer key-1"})).status_code == 200


async def test_an_override_of_the_model_is_asked_in_its_place(model: str, nobody: str) -> None:
    app = create_app(settings(nobody))
    assert_problem(await asked(app), 502, "llm_unreachable")
    async with llm.connect(settings(model)) as other:
        app.dependency_overrides[get_openai] = lambda: other
        assert (await asked(app)).json()["model"] == "lab-small"
