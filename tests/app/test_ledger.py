"""The ledger: what each question cost, to the last digit, in PostgreSQL and on a laptop."""

from __future__ import annotations

import json
import re
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from lab_app.ledger import Base, Ledger, address

from .conftest import KEY, StartEndpoint, StartServer, as_typed, client_of, migrations, settings, wait_until
from .services import Service
from .test_chat import HELLO, chunk, streamed
from .test_stream import leave
from .time_limits import GENEROUS

PRICED = {"openai_priced_as": "gpt-4o-mini"}  # 0.15 and 0.60 dollars for a million tokens
COST = Decimal("0.0000108")  # of 4 tokens sent and 17 received: 0.6 and 10.2 millionths


async def rows(url: str) -> list[dict[str, Any]]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = (await connection.execute(text("SELECT * FROM usage ORDER BY id"))).mappings().all()
    await engine.dispose()
    return [dict(row) for row in found]


async def test_a_call_is_a_row_that_says_who_how_much_and_what_it_cost(
    model: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lab_app")
    made = settings(model, database_url=as_typed(database_url), api_keys="user_1:key-1", **PRICED)
    async with client_of(made) as client:
        headers = {"Authorization": "Bearer key-1", "X-Request-ID": "req-1"}
        answer = (await client.post("/api/chat", json=HELLO, headers=headers)).json()
    (row,) = await rows(database_url)
    assert (row["user_id"], row["request_id"], row["model"]) == ("user_1", "req-1", "lab-small")
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (4, 17, False)
    assert row["outcome"] == "answered" and row["duration_ms"] > 0 and row["asked_at"].tzinfo is not None
    (line,) = [each for each in caplog.records if getattr(each, "event_type", "") == "llm_call"]
    assert (
        row["cost_usd"] == COST == Decimal(str(line.__dict__["cost_usd"])) == Decimal(str(answer["cost_usd"]))
    )


async def test_an_answer_from_the_cache_is_a_row_that_cost_nothing(model: str, database_url: str) -> None:
    async with client_of(settings(model, database_url=database_url, **PRICED)) as client:
        for _ in range(2):
            await client.post("/api/chat", json=HELLO)
    first, second = await rows(database_url)
    assert (first["outcome"], first["cost_usd"]) == ("answered", COST)
    assert (second["outcome"], second["cost_usd"], second["prompt_tokens"]) == ("cached", 0, 0)


async def test_what_breaks_off_is_counted_by_estimate(
    start_endpoint: StartEndpoint, database_url: str
) -> None:
    endpoint = start_endpoint(**streamed(chunk("Half of an answer")))
    async with client_of(settings(endpoint.url, database_url=database_url, **PRICED)) as client:
        assert (await client.post("/api/chat", json=HELLO)).status_code == 502
    (row,) = await rows(database_url)
    assert (row["outcome"], row["estimated"]) == ("failed", True)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (4, 5)  # 14 and 17 characters
    assert row["cost_usd"] == (4 * Decimal("0.15") + 5 * Decimal("0.6")) / 1_000_000


async def test_the_cost_of_a_model_without_a_known_price_is_not_guessed(
    model: str, database_url: str
) -> None:
    async with client_of(settings(model, database_url=database_url)) as client:
        assert (await client.post("/api/chat", json=HELLO)).json()["cost_usd"] is None
    (row,) = await rows(database_url)
    assert row["cost_usd"] is None


@pytest.mark.own_limits
async def test_a_ledger_that_is_down_does_not_undo_an_answer(
    model: str, database_url: str, postgres_server: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(settings(model, database_url=database_url)) as client:
        postgres_server.pause()
        response = await client.post("/api/chat", json=HELLO)
        postgres_server.resume()
    assert response.status_code == 200
    assert "a row of the ledger is lost" in caplog.text


async def test_a_client_that_leaves_while_its_row_is_written_does_not_undo_it(
    model: str, database_url: str, postgres_server: Service, start_server: StartServer
) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": model, "OPENAI_MODEL": "lab-small"}
    server = start_server("lab_app.main:app", DATABASE_URL=as_typed(database_url), **variables)
    postgres_server.pause()
    leave(server, lambda: server.lines("llm_call"), HELLO)
    httpx2.get(server.url + "/health/live", timeout=GENEROUS)  # so that it has noticed
    postgres_server.resume()
    request = wait_until(lambda: server.lines("request")[1:], "the line of the request")[0]
    assert request["status_code"] == 499
    (row,) = await rows(database_url)
    assert row["outcome"] == "answered"


async def test_on_a_laptop_the_ledger_is_a_file(model: str, tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/own.db"
    async with client_of(settings(model, database_url=url, **PRICED)) as client:
        await client.post("/api/chat", json=HELLO)
    (row,) = await rows(url)
    assert Decimal(str(row["cost_usd"])) == COST


# ---- how it came to be ----


async def test_a_second_run_of_the_migrations_does_no_harm(postgres_url: str) -> None:
    for _ in range(2):
        done = migrations(as_typed(postgres_url))
        assert done.returncode == 0, done.stderr
    assert await rows(postgres_url) == []


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
async def test_the_table_in_the_code_is_the_one_that_the_migrations_make(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/own.db"
    if kind == "postgresql":
        url = as_typed(request.getfixturevalue("postgres_url"))
    assert migrations(url).returncode == 0
    async with aclosing(Ledger(settings(database_url=url))) as ledger, ledger.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ((r"/test_", "/no_such_"), "no database of this name"),
        ((r"a-password", "another"), "refuses the password"),
        ((r":\d+/", ":1/"), "no connection"),
    ],
)
def test_a_database_that_does_not_serve_is_named_without_its_address(
    postgres_url: str, wrong: tuple[str, str], says: str
) -> None:
    done = migrations(re.sub(*wrong, as_typed(postgres_url)))
    assert done.returncode == 1 and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "127.0.0.1" not in done.stderr


async def component(url: str) -> dict[str, Any]:
    async with client_of(settings(database_url=url)) as client:
        response = await client.get("/health/ready")
    found = response.json()["components"]["database"]
    assert response.status_code == (200 if found["status"] == "healthy" else 503)
    assert "127.0.0.1" not in json.dumps(found)
    return dict(found)


async def test_health_says_that_migrations_are_missing(postgres_url: str) -> None:
    assert "lab_app.migrations" in (await component(postgres_url))["reason"]
    assert migrations(as_typed(postgres_url)).returncode == 0
    assert (await component(postgres_url))["status"] == "healthy"


@pytest.mark.own_limits
async def test_health_names_a_database_that_hangs(database_url: str, postgres_server: Service) -> None:
    postgres_server.pause()
    assert (await component(database_url))["reason"].startswith("no answer")


async def test_health_names_a_database_that_is_down(database_url: str, postgres_server: Service) -> None:
    postgres_server.stop()
    assert (await component(database_url))["reason"] == "no connection"


def test_a_url_as_people_write_it_is_understood() -> None:
    assert address(settings(database_url="postgresql://a:b@c/d")) == "postgresql+asyncpg://a:b@c/d"
    assert address(settings(database_url="postgres://a:b@c/d")) == "postgresql+asyncpg://a:b@c/d"
