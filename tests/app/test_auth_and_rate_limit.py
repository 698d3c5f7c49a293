"""Who may ask, and how often: with several processes, behind a proxy, with and without Redis."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import Request
from redis.asyncio import Redis

from lab_app import redis_store
from lab_app.app import create_app
from lab_app.auth import address_of
from lab_app.settings import Settings

from . import time_limits
from .conftest import client_of, settings
from .services import Service
from .test_chat import assert_problem

HELLO = {"message": "Hello, server!"}
KEYS = {"user_1": "the-key-of-one", "user_2": "the-key-of-two"}
SETTING = "user_1:the-key-of-one,user_2:the-key-of-two"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def ask(client: httpx2.AsyncClient, key: str = KEYS["user_1"], **headers: str) -> httpx2.Response:
    return await client.post("/api/chat", json=HELLO, headers=bearer(key) | headers)


@pytest.mark.parametrize(
    "header",
    [{}, bearer("wrong"), bearer(""), {"Authorization": KEYS["user_1"]},
     {"Authorization": f"Basic {KEYS['user_1']}"},
     bearer("thé"), bearer(KEYS["user_1"] + "x")],
    ids=str,
)  # fmt: skip
async def test_without_a_known_key_it_is_a_401(model: str, header: dict[str, str]) -> None:
    async with client_of(settings(model, api_keys=SETTING)) as client:
        raw = {name: value.encode() for name, value in header.items()}
        response = await client.post("/api/chat", json=HELLO, headers=raw)
    assert_problem(response, 401, "not_authenticated")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_stands_for_its_user(model: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with client_of(settings(model, api_keys=SETTING)) as client:
        assert (await ask(client, KEYS["user_2"])).status_code == 200
    assert KEYS["user_2"] not in caplog.text


async def test_who_may_not_ask_learns_nothing_about_the_body(model: str) -> None:
    async with client_of(settings(model, api_keys=SETTING)) as client:
        assert_problem(await client.post("/api/chat", json={"no": "message"}), 401, "not_authenticated")


@pytest.mark.parametrize("text", ["user_1", "user_1:", ":key", "a:1,a:2", "a:1,b:1", "a:1,,b:2", "a:k y"])
def test_keys_that_are_no_pairs_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        settings(api_keys=text)
    assert "k y" not in str(caught.value)


def test_keys_are_pairs_with_a_colon() -> None:
    found = settings(api_keys="user_1:one, user_2:two:three").api_keys
    assert {user: key.get_secret_value() for user, key in found.items()} == {
        "user_1": "one",
        "user_2": "two:three",
    }


# ---- how often ----


def left(answer: httpx2.Response) -> int:
    """How many more the answer says there may be."""
    return int(answer.headers["ratelimit"].split(";r=")[1].split(";")[0])


async def test_the_eleventh_in_a_minute_is_refused_and_told_when_to_come_back(model: str) -> None:
    async with client_of(settings(model, api_keys=SETTING, chat_limit=10)) as client:
        answers = [await ask(client) for _ in range(11)]
        other = await ask(client, KEYS["user_2"])
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert other.status_code == 200
    assert_problem(answers[-1], 429, "too_many_requests")
    assert [left(answer) for answer in answers[:10]] == list(range(9, -1, -1))
    assert answers[0].headers["ratelimit-policy"] == '"chat";q=10;w=60'
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].headers["ratelimit"] == f'"chat";r=0;t={answers[-1].headers["retry-after"]}'


async def test_wrong_keys_are_counted_too(model: str) -> None:
    async with client_of(settings(model, api_keys=SETTING, chat_limit=3)) as client:
        answers = [await ask(client, f"guess-{number}") for number in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert [left(answer) for answer in answers[:3]] == [2, 1, 0]


async def test_a_question_that_is_none_is_counted_and_told_so(model: str) -> None:
    async with client_of(settings(model, chat_limit=3)) as client:
        answers = [await client.post("/api/chat", json={}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
    assert [left(answer) for answer in answers[:3]] == [2, 1, 0]


async def test_a_forged_header_of_a_proxy_gains_nothing(model: str) -> None:
    """The server believes its own proxy; what anyone else says of himself is not looked at."""
    async with client_of(settings(model, chat_limit=3)) as client:
        answers = [await ask(client, **{"X-Forwarded-For": f"203.0.113.{number}"}) for number in range(4)]
    assert answers[-1].status_code == 429


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("testclient", "testclient"),
    ],
)
def test_of_an_ipv6_address_the_network_counts(host: str, counted: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 1), "headers": []})) == counted


@asynccontextmanager
async def processes(count: int, made: Settings) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """As many applications as there would be processes: nothing is shared but what is outside."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            app = create_app(made)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx2.ASGITransport(app=app)
            client = httpx2.AsyncClient(transport=transport, base_url="http://app")
            clients.append(await stack.enter_async_context(client))
        yield clients


def shared(model: str, url: str, **more: Any) -> Settings:
    return settings(model, api_keys=SETTING, redis_url=url, chat_limit=10, cache_seconds=0, **more)


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_through_redis_the_processes_count_together(model: str, redis_url: str, count: int) -> None:
    async with processes(count, shared(model, redis_url)) as clients:
        together = await asyncio.gather(*(ask(clients[number % count]) for number in range(15)))
    assert sorted(answer.status_code for answer in together) == [200] * 10 + [429] * 5


async def test_without_redis_each_process_counts_for_itself_and_health_is_degraded(
    model: str, redis_url: str, redis_server: Service
) -> None:
    redis_server.stop()
    async with processes(2, shared(model, redis_url)) as clients:
        statuses = [(await ask(client)).status_code for client in clients for _ in range(11)]
        health = (await clients[0].get("/health")).json()
    assert statuses == ([200] * 10 + [429]) * 2
    assert health["status"] == "degraded" and health["components"]["cache"]["status"] == "unhealthy"


@pytest.mark.own_limits
async def test_a_redis_that_hangs_costs_one_wait(
    model: str,
    redis_url: str,
    redis_server: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_store, "PAUSE", time_limits.GENEROUS)
    redis_server.pause()
    async with processes(1, shared(model, redis_url)) as (client,):
        assert [(await ask(client)).status_code for _ in range(5)] == [200] * 5
    waits = [each for each in caplog.records if getattr(each, "event_type", "") == "cache_error"]
    assert len(waits) == 1


async def test_a_redis_that_hung_counts_again_from_where_it_was(
    model: str, redis_url: str, redis_server: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with processes(1, shared(model, redis_url)) as (client,):
        assert left(await ask(client)) == 9
    time_limits.put_own(monkeypatch.setattr)
    async with processes(1, shared(model, redis_url)) as (client,):
        redis_server.pause()
        assert [left(await ask(client)) for _ in range(5)] == [9, 8, 7, 6, 5]  # by itself
        redis_server.resume()
        async with asyncio.timeout(time_limits.GENEROUS / 2):  # less than the minute in which is counted
            while left(await ask(client)) <= 5:
                await asyncio.sleep(0.2)


async def test_an_answer_is_shared_by_the_processes_and_its_key_does_not_tell_the_question(
    model: str, redis_url: str
) -> None:
    made = settings(model, redis_url=redis_url)
    async with processes(2, made) as (one, other), Redis.from_url(redis_url) as redis:
        assert (await ask(one)).json()["cached"] is False
        assert (await ask(other)).json()["cached"] is True
        (key,) = await redis.keys("answer:*")
    assert re.fullmatch(rb"answer:[0-9a-f]{64}", key)
