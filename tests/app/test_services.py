"""The servers that the application's tests run against: real, empty at first, and broken on demand."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.needed import program
from vagrant.host.programs import PROGRAMS, Program

from .conftest import ROOT, wait_until
from .services import ChromaServer, PostgresServer, RedisServer, Service
from .time_limits import GENEROUS

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def tables(url: str) -> list[str]:
    async with postgres(url) as connection:
        found = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return list(found)


async def add_table(url: str) -> None:
    async with postgres(url) as connection:
        await connection.execute(text("CREATE TABLE kept (id int)"))


async def keys(url: str) -> list[str]:
    async with Redis.from_url(url, decode_responses=True) as client:
        return [str(key) for key in await client.keys()]


async def add_key(url: str) -> None:
    async with Redis.from_url(url) as client:
        await client.set("kept", 1)


async def collections(url: str) -> list[str]:
    async with httpx2.AsyncClient(base_url=url) as client:
        return [each["name"] for each in (await client.get(COLLECTIONS)).raise_for_status().json()]


async def add_collection(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        (await client.post(COLLECTIONS, json={"name": "kept"})).raise_for_status()


async def test_postgres_keeps_a_row_from_one_connection_to_the_next(postgres_url: str) -> None:
    async with postgres(postgres_url) as connection:
        await connection.execute(text("CREATE TABLE words (word text)"))
        await connection.execute(text("INSERT INTO words VALUES ('Grüße')"))
    async with postgres(postgres_url) as connection:
        assert await connection.scalar(text("SELECT word FROM words")) == "Grüße"


async def test_the_account_in_postgres_owns_its_database_and_may_make_no_other(postgres_url: str) -> None:
    async with postgres(postgres_url) as connection:
        mine = await connection.scalar(
            text("SELECT pg_get_userbyid(datdba) = user FROM pg_database WHERE datname = current_database()")
        )
        rights = await connection.execute(
            text("SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = user")
        )
        assert mine is True
        assert tuple(rights.one()) == (False, False, False)


async def test_redis_keeps_a_key_from_one_connection_to_the_next(redis_url: str) -> None:
    await add_key(redis_url)
    async with Redis.from_url(redis_url) as client:
        assert await client.get("kept") == b"1"


async def test_chroma_finds_the_nearest_of_what_it_was_given(chroma_url: str) -> None:
    async with httpx2.AsyncClient(base_url=chroma_url) as client:
        made = (await client.post(COLLECTIONS, json={"name": "texts"})).raise_for_status().json()
        texts = {
            "ids": ["a", "b"],
            "embeddings": [[1, 0], [0, 1]],
            "documents": ["the first", "the second"],
        }
        (await client.post(f"{COLLECTIONS}/{made['id']}/add", json=texts)).raise_for_status()
        asked = {"query_embeddings": [[0.1, 0.9]], "n_results": 1, "include": ["documents"]}
        answer = await client.post(f"{COLLECTIONS}/{made['id']}/query", json=asked)
        assert answer.raise_for_status().json()["documents"] == [["the second"]]


@pytest.mark.parametrize("time", ["the first", "the second"])
async def test_each_test_begins_with_empty_databases(
    time: str, postgres_url: str, redis_url: str, chroma_url: str
) -> None:
    assert await tables(postgres_url) == await keys(redis_url) == await collections(chroma_url) == []
    await add_table(postgres_url)
    await add_key(redis_url)
    await add_collection(chroma_url)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def hangs(server: Service, ask: Callable[[], Awaitable[object]]) -> None:
    """While the server is paused it accepts a connection, and answers what it is asked when it is resumed."""
    server.pause()
    socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    asking = asyncio.ensure_future(ask())
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    server.resume()
    await asyncio.wait_for(asking, timeout=GENEROUS)


async def test_a_paused_postgres_is_silent_until_it_is_resumed(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    await hangs(postgres_server, lambda: tables(postgres_url))


async def test_a_paused_postgres_is_silent_on_connections_from_before(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with postgres(postgres_url) as connection:
        await connection.execute(text("SELECT 1"))
        await hangs(postgres_server, lambda: connection.execute(text("SELECT 2")))


async def test_a_paused_redis_is_silent_until_it_is_resumed(
    redis_server: RedisServer, redis_url: str
) -> None:
    await hangs(redis_server, lambda: keys(redis_url))


async def test_a_paused_chroma_is_silent_until_it_is_resumed(
    chroma_server: ChromaServer, chroma_url: str
) -> None:
    await hangs(chroma_server, lambda: collections(chroma_url))


async def test_a_stopped_postgres_refuses_and_has_its_rows_when_it_is_started_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    await add_table(postgres_url)
    postgres_server.stop()
    with pytest.raises(ConnectionRefusedError):
        await tables(postgres_url)
    postgres_server.start()
    assert await tables(postgres_url) == ["kept"]


async def test_a_stopped_redis_refuses_and_is_empty_when_it_is_started_again(
    redis_server: RedisServer, redis_url: str
) -> None:
    await add_key(redis_url)
    redis_server.stop()
    with pytest.raises(RedisConnectionError):
        await keys(redis_url)
    redis_server.start()
    assert await keys(redis_url) == []


async def test_a_stopped_chroma_refuses_and_has_its_collections_when_it_is_started_again(
    chroma_server: ChromaServer, chroma_url: str
) -> None:
    await add_collection(chroma_url)
    chroma_server.stop()
    with pytest.raises(httpx2.ConnectError):
        await collections(chroma_url)
    chroma_server.start()
    assert await collections(chroma_url) == ["kept"]


@pytest.mark.parametrize("broken", ["paused", "stopped", "killed"])
async def test_what_one_test_left_broken_runs_for_the_next(broken: str, redis_server: RedisServer) -> None:
    if broken == "paused":
        redis_server.pause()
    elif broken == "stopped":
        redis_server.stop()
    elif redis_server.process is not None:
        redis_server.process.kill()
        redis_server.process.wait()
    with redis_server.database() as url:
        assert await keys(url) == []


def test_a_server_ends_with_the_tests_that_were_killed_and_leaves_nothing(
    postgres_server: PostgresServer,
) -> None:
    """Though it is paused, and nobody is left to end it."""
    script = """if True:
        import os, signal
        from tests.app.services import PostgresServer
        server = PostgresServer()
        server.pause()
        print(server.port, server.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    port, folder = killed.stdout.split()
    wait_until(lambda: refuses(int(port)), "the end of the server")
    wait_until(lambda: not Path(folder).exists(), f"the end of {folder}")


def no_program() -> tuple[str, Program]:
    return "no-program", Program(f"no-program-{uuid4()}", "a-package", "nothing")


def test_without_a_server_s_program_its_tests_are_skipped_and_the_reason_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAB_SERVICES", raising=False)
    monkeypatch.setitem(PROGRAMS, *no_program())
    with pytest.raises(pytest.skip.Exception, match=r"^nothing: .*sudo apt-get install a-package"):
        program("no-program")


def test_where_every_server_has_to_be_there_one_that_is_not_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_SERVICES", "required")
    monkeypatch.setitem(PROGRAMS, *no_program())
    with pytest.raises(pytest.fail.Exception, match="sudo apt-get install a-package"):
        program("no-program")
