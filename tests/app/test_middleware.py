"""Around every request: ids, bounds, and nothing of a failure's inside to the outside."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lab_app import middleware
from lab_app.middleware import around_each_request

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


async def test_a_body_that_turns_out_too_large_is_refused() -> None:
    async def chunks() -> Any:
        for _ in range(70):
            yield b" " * 1024

    async with client_of(settings()) as client:
        response = await client.post("/api/chat", content=chunks())
    assert (response.status_code, response.json()["reason"]) == (413, "too_large")


SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}


def statuses(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Those of the requests in the log."""
    return [vars(record)["status_code"] for record in caplog.records if record.getMessage() == "request"]


async def test_a_body_that_does_not_come_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalls() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr(middleware, "SLOWEST", 0.05)
    async with client_of(settings()) as client:
        response = await client.post("/api/chat", content=stalls())
    assert (response.status_code, response.json()["reason"]) == (408, "slow_body")
    assert response.headers["connection"] == "close"


async def test_once_the_body_is_there_an_answer_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def takes_its_time(scope: Scope, receive: Receive, send: Send) -> None:
        assert await Request(scope, receive).body() == b"all"
        await asyncio.sleep(0.2)
        await Response("done")(scope, receive, send)

    monkeypatch.setattr(middleware, "SLOWEST", 0.05)
    transport = httpx2.ASGITransport(app=around_each_request(takes_its_time))
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        assert (await client.post("/", content=b"all")).text == "done"


@pytest.mark.parametrize("arrived", [False, True], ids=["half of the body", "all of the body"])
async def test_a_client_that_leaves_ends_the_work_and_is_logged_as_499(
    arrived: bool, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[Message] = [{"type": "http.request", "body": b"{}", "more_body": not arrived}]
    ended: list[str] = []

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pytest.fail("there is nobody to send it to")

    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Request(scope, receive).body()
            await asyncio.Event().wait()
        finally:
            ended.append("by now")

    caplog.set_level("INFO", "lab_app")
    await around_each_request(works)(SCOPE, receive, send)
    assert (ended, statuses(caplog)) == (["by now"], [499])


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the database's password is 1234")


async def test_an_unexpected_error_is_a_500_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    transport = httpx2.ASGITransport(app=around_each_request(broken))
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

    await around_each_request(broken_half_way)(SCOPE, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start"]
