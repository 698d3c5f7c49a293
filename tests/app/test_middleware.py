"""Around every request: ids, bounds, and nothing of a failure's inside to the outside."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_app import middleware

from .conftest import client_of, settings
from .time_limits import GENEROUS


def around_each_request(app: ASGIApp) -> ASGIApp:
    """The application within all of the middleware."""
    for each in reversed(middleware.MIDDLEWARE):
        app = each.cls(app, *each.args, **each.kwargs)
    return app


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


async def test_each_request_without_an_id_gets_one_of_its_own() -> None:
    async with client_of(settings()) as client:
        ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


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
        await asyncio.sleep(middleware.SLOWEST * 1.1)
        await Response("done")(scope, receive, send)

    monkeypatch.setattr(middleware, "SLOWEST", 1)
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


# ---- the contract of ASGI ----


class Server:
    """What a server gives an application: these messages, then a disconnect when the client leaves."""

    def __init__(self, *messages: Message) -> None:
        self.messages = [*messages]
        self.leaves = asyncio.Event()
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await self.leaves.wait()
        return DISCONNECT

    async def send(self, message: Message) -> None:
        self.sent.append(message)


def body(text: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": text, "more_body": more}


DISCONNECT: Message = {"type": "http.disconnect"}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def test_messages_arrive_in_order_and_the_disconnect_after_them() -> None:
    server = Server(body(b"one", more=True), body(b"two", more=True), body(b"three"))
    received: list[Message] = []

    async def reads_on(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            received.append(await receive())
        await send(START)  # begun: from here on the application itself decides what a disconnect means
        server.leaves.set()
        for _ in range(2):
            received.append(await receive())
        await send({"type": "http.response.body", "body": b"all"})

    async with asyncio.timeout(GENEROUS):
        await around_each_request(reads_on)(SCOPE, server.receive, server.send)
    assert [message.get("body") for message in received] == [b"one", b"two", b"three", None, None]
    assert received[3:] == [DISCONNECT, DISCONNECT]
    assert [message["type"] for message in server.sent] == ["http.response.start", "http.response.body"]


async def test_two_that_wait_for_the_disconnect_both_get_it() -> None:
    """As a streaming response does, beside what looks after the request."""
    server = Server(body(b""))

    async def waits_twice(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        one, other = asyncio.create_task(receive()), asyncio.create_task(receive())
        await asyncio.sleep(0)
        server.leaves.set()
        assert [await one, await other] == [DISCONNECT, DISCONNECT]
        await send({"type": "http.response.body"})

    async with asyncio.timeout(GENEROUS):
        await around_each_request(waits_twice)(SCOPE, server.receive, server.send)
    assert len(server.sent) == 2


async def test_work_after_the_answer_is_finished(caplog: pytest.LogCaptureFixture) -> None:
    """After the last message a server tells of a disconnect: that ends nothing."""
    server, done = Server(body(b"")), asyncio.Event()

    async def goes_on(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await Response("all")(scope, receive, send)
        server.leaves.set()
        for _ in range(5):
            await asyncio.sleep(0)
        done.set()

    caplog.set_level("INFO", "lab_app")
    await around_each_request(goes_on)(SCOPE, server.receive, server.send)
    assert done.is_set() and statuses(caplog) == [200]


async def test_the_id_reaches_a_response_that_has_no_headers() -> None:
    server = Server(body(b""))

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    await around_each_request(bare)(SCOPE, server.receive, server.send)
    ((name, value),) = server.sent[0]["headers"]
    assert name == b"x-request-id" and len(value) == 32


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_passed_through_untouched(kind: str) -> None:
    scope, server = {"type": kind}, Server()
    seen: list[object] = []

    async def notes(*given: object) -> None:
        seen.extend(given)

    receive, send = server.receive, server.send
    await around_each_request(notes)(scope, receive, send)
    assert seen == [scope, receive, send]
