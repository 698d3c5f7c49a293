"""Health of what the application depends on, where a server that answers is not enough."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from sqlalchemy import text

from lab_app.health import SHARED_FOR
from lab_app.ledger import Ledger
from lab_app.migrations import migrate

from .conftest import StartEndpoint, client_of, settings, wait_until
from .services import ChromaServer, PostgresServer, RedisServer, running
from .test_chat import HELLO, LAST, USAGE, chunk, streamed
from .test_services import keys, postgres
from .time_limits import GENEROUS


async def component(name: str, **configured: Any) -> tuple[int, str, dict[str, Any]]:
    """Status code and top line of /health, and the component of this name."""
    async with client_of(settings(**configured)) as client:
        response = await client.get("/health")
    return response.status_code, response.json()["status"], response.json()["components"][name]


# ---- Redis ----


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may set up as it likes."""
    with running(RedisServer) as server:
        yield server


async def set_up(url: str, **configuration: str) -> None:
    async with Redis.from_url(url) as client:
        for name, value in configuration.items():
            await client.config_set(name.replace("_", "-"), value)


async def test_redis_that_takes_values_is_healthy_and_keeps_one_small_key(redis_url: str) -> None:
    _, _, cache = await component("cache", redis_url=redis_url)
    assert (cache["status"], cache["reason"]) == ("healthy", None)
    assert await keys(redis_url) == ["health"]
    async with Redis.from_url(redis_url) as client:
        assert 0 < await client.ttl("health") <= 10


async def test_redis_that_is_full_is_degraded(own_redis: RedisServer) -> None:
    with own_redis.database() as url:
        await set_up(url, maxmemory_policy="noeviction", maxmemory="1kb")
        async with Redis.from_url(url) as client:
            assert await client.ping()
        code, whole, cache = await component("cache", redis_url=url)
    assert (code, whole) == (200, "degraded")
    assert (cache["status"], cache["reason"]) == ("unhealthy", "its memory is full")


async def test_redis_that_is_a_read_only_replica_is_degraded(own_redis: RedisServer) -> None:
    with own_redis.database() as url:
        async with Redis.from_url(url) as client:
            await client.replicaof("127.0.0.1", 1)
            assert await client.ping()
        code, whole, cache = await component("cache", redis_url=url)
    assert (code, whole) == (200, "degraded")
    assert (cache["status"], cache["reason"]) == ("unhealthy", "it is read-only")


async def test_redis_that_cannot_save_to_its_disk_is_degraded(own_redis: RedisServer) -> None:
    def failed() -> bool:
        return "Failed opening" in (own_redis.folder / "log").read_text(encoding="utf-8")

    with own_redis.database() as url:
        own_redis.folder.chmod(0o555)
        try:
            await set_up(url, save="3600 1")
            async with Redis.from_url(url) as client:
                await client.set("kept", 1)
                await client.bgsave()
                assert await client.ping()
            wait_until(failed, "Redis's failed save")
            code, whole, cache = await component("cache", redis_url=url)
        finally:
            own_redis.folder.chmod(0o700)
    assert (code, whole) == (200, "degraded")
    assert (cache["status"], cache["reason"]) == ("unhealthy", "it cannot write to its disk")


# ---- the ledger ----


async def ledger_at(url: str, *statements: str) -> tuple[int, str, dict[str, Any]]:
    """The database's health after these statements in a database that has the ledger's tables."""
    ledger = Ledger(settings(database_url=url))
    await migrate(ledger.engine)
    await ledger.engine.dispose()
    async with postgres(url) as connection:
        for statement in statements:
            await connection.execute(text(statement))
    return await component("database", database_url=url)


async def test_postgres_that_is_asked_for_its_health_gets_no_row_and_uses_up_no_number(
    postgres_url: str,
) -> None:
    _, _, database = await ledger_at(postgres_url)
    assert (database["status"], database["reason"]) == ("healthy", None)
    async with postgres(postgres_url) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM usage")) == 0
        sequence = "SELECT last_value FROM pg_sequences WHERE sequencename LIKE 'usage%'"
        assert await connection.scalar(text(sequence)) is None


async def test_postgres_that_is_read_only_is_unhealthy(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    code, whole, database = await ledger_at(
        postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    )
    assert (code, whole) == (503, "unhealthy")
    assert (database["status"], database["reason"]) == ("unhealthy", "it is read-only")


async def test_postgres_that_refuses_to_add_rows_is_unhealthy(postgres_url: str) -> None:
    code, whole, database = await ledger_at(postgres_url, "REVOKE INSERT ON usage FROM CURRENT_USER")
    assert (code, whole) == (503, "unhealthy")
    assert (database["status"], database["reason"]) == ("unhealthy", "its account lacks a right")


async def test_a_laptop_s_file_that_is_read_only_is_unhealthy(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    await component("database", database_url=f"sqlite+aiosqlite:///{file}")  # makes the tables
    read_only = f"sqlite+aiosqlite:///file:{file}?mode=ro&uri=true"
    code, whole, database = await component("database", database_url=read_only)
    assert (code, whole) == (503, "unhealthy")
    assert (database["status"], database["reason"]) == ("unhealthy", "it is read-only")


# ---- the documents ----


async def test_chroma_whose_data_is_damaged_is_unhealthy_though_its_heart_beats() -> None:
    with running(ChromaServer) as server:
        _, _, documents = await component("vector_db", chroma_url=server.url)
        assert (documents["status"], documents["reason"]) == ("healthy", None)
        os.truncate(server.folder / "data" / "chroma.sqlite3", 100)
        server_says = httpx2.get(f"{server.url}/api/v2/heartbeat", timeout=GENEROUS)
        assert server_says.status_code == 200
        code, whole, documents = await component("vector_db", chroma_url=server.url)
    assert (code, whole, documents["status"]) == (503, "unhealthy", "unhealthy")


# ---- a model provider without a list of models ----


def no_list(status: int = 404, **more: Any) -> dict[str, Any]:
    """An endpoint that answers questions, and has no list of models."""
    return streamed(chunk("Yes."), LAST, USAGE) | {"status_of_get": status} | more


async def model_component(client: httpx2.AsyncClient) -> tuple[str, dict[str, Any]]:
    """What a new look finds out: the top line, and the component."""
    await asyncio.sleep(SHARED_FOR)  # the result of the last one is shared until then
    body = (await client.get("/health")).json()
    return body["status"], body["components"]["openai_api"]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_provider_without_a_list_is_unknown_until_a_question_was_answered(
    status: int, start_endpoint: StartEndpoint
) -> None:
    endpoint = start_endpoint(**no_list(status))
    async with client_of(settings(endpoint.url)) as client:
        whole, model = await model_component(client)
        assert (whole, model["status"]) == ("degraded", "unknown")
        assert model["reason"] == "it has no list of models: known after the first question"
        assert (await client.post("/api/chat", json=HELLO)).status_code == 200
        whole, model = await model_component(client)
        assert (whole, model["status"], model["reason"]) == ("healthy", "healthy", None)
        assert (await client.post("/api/chat", json=HELLO)).json()["cached"]
        assert await model_component(client) == (whole, model | {"latency_ms": ANY})
    # The one question was asked by the test, and none by the looks.
    assert endpoint.requests.count("POST /v1/chat/completions") == 1
    assert set(endpoint.requests) == {"POST /v1/chat/completions", "GET /v1/models"}


async def test_a_provider_without_a_list_whose_latest_call_failed_is_unhealthy_with_its_reason(
    start_endpoint: StartEndpoint,
) -> None:
    endpoint = start_endpoint(**no_list())
    async with client_of(settings(endpoint.url, cache_seconds=0)) as client:
        await client.post("/api/chat", json=HELLO)
        endpoint.status = 429
        await client.post("/api/chat", json=HELLO)
        whole, model = await model_component(client)
        assert (whole, model["status"]) == ("degraded", "unhealthy")
        said = "it has no list of models, and the latest call failed: rate limited or out of quota (429)"
        assert model["reason"] == said
        endpoint.status = 200
        await client.post("/api/chat", json=HELLO)
        assert (await model_component(client))[0] == "healthy"


async def test_calls_that_worked_are_no_excuse_for_a_provider_that_refuses_its_list(
    start_endpoint: StartEndpoint,
) -> None:
    endpoint = start_endpoint(**no_list(401))
    async with client_of(settings(endpoint.url)) as client:
        assert (await client.post("/api/chat", json=HELLO)).status_code == 200
        _, model = await model_component(client)
    assert (model["status"], model["reason"]) == ("unhealthy", "it refuses the key (401)")


async def test_what_is_unknown_is_neither_well_nor_ill_in_the_metric(start_endpoint: StartEndpoint) -> None:
    async with client_of(settings(start_endpoint(**no_list()).url)) as client:
        await model_component(client)
    value = REGISTRY.get_sample_value("app_component_healthy", {"component": "openai_api"})
    assert value is not None and math.isnan(value)
