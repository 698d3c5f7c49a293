"""Around every request: ids, bounds, and nothing of a failure's inside to the outside."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from lab_app.middleware import BodyLimit, RequestLog
from lab_app.problems import Problem

from .conftest import client_of, settings


@pytest.mark.parametrize("given", ["abc", "0f-9_.A", "x" * 64])
async def test_a_sane_request_id_is_kept(given: str) -> None:
    async with client_of(settings()) as client:
        response = await client.get("/health/live", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\tb", "é"])
async def test_another_request_id_is_replaced(given: str) -> None:
    async with client_of(settings()) as client:
        response = await client.get("/health/live", headers={b"X-Request-ID": given.encode()})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


async def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    async def never() -> Any:
        pytest.fail("the body was asked for")
        yield b""

    async with client_of(settings()) as client:
        response = await client.post("/api/chat", content=never(), headers={"Content-Length": "70000"})
    assert (response.status_code, response.json()["reason"]) == (413, "too_large")
    assert response.headers["connection"] == "close"


async def test_a_body_that_turns_out_too_large_is_refused() -> None:
    async def chunks() -> Any:
        for _ in range(70):
            yield b" " * 1024

    async with client_of(settings()) as client:
        response = await client.post("/api/chat", content=chunks())
    assert (response.status_code, response.json()["reason"]) == (413, "too_large")


SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"10")]}


async def reads(scope: Scope, receive: Receive, send: Send) -> None:
    await Request(scope, receive).body()


async def test_a_body_that_does_not_come_is_a_408() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        pytest.fail("the answer is the application's")

    with pytest.raises(Problem) as caught:
        await BodyLimit(reads, size=10, seconds=0.05)(SCOPE, receive, send)
    assert (caught.value.status_code, caught.value.headers) == (408, {"Connection": "close"})


async def test_once_the_body_is_there_an_answer_may_take_its_time() -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"all"}]

    async def receive() -> Message:
        if not messages:
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}
        return messages.pop()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["body"] == b"all"
        assert (await receive())["type"] == "http.disconnect"

    async def send(message: Message) -> None:
        pytest.fail("nothing is sent")

    await BodyLimit(waits, size=10, seconds=0.05)(SCOPE, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the database's password is 1234")


async def test_an_unexpected_error_is_a_500_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    transport = httpx2.ASGITransport(app=RequestLog(broken))
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        response = await client.get("/")
    assert (response.status_code, response.json()["reason"]) == (500, "internal_error")
    assert "1234" not in response.text and "RuntimeError" not in response.text
    assert json.loads(response.text)["request_id"] == response.headers["x-request-id"]
    assert [record.getMessage() for record in caplog.records] == ["unhandled error", "request"]


async def broken_half_way(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError


async def test_an_error_after_the_response_began_does_not_begin_another() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await RequestLog(broken_half_way)(SCOPE, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
