"""Around every request: one class for each concern, the outermost first in MIDDLEWARE.

Pure ASGI: Starlette's BaseHTTPMiddleware costs several times as much, and runs the application in a task of
its own. Each passes on every message, in order. Two of them the framework has as well, and they are not
used: its handler for unexpected errors runs outside of all middleware, so that neither id nor log line would
be there, and its `max_body_size` answers in plain text.
"""

import asyncio
import logging
import re
import time
from contextlib import suppress
from random import getrandbits

import anyio
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_app import json_logs, metrics, sentry
from lab_app.problem_details import Problem

logger = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
LARGEST = 64 * 1024  # bytes of a body: they hold a question of 4,000 characters, however it is escaped
# Seconds for all of it to arrive. A client that sends a byte now and then could else hold up a shutdown.
SLOWEST = 10.0
# What is left of a body that was not read must not be taken for the next request.
CLOSE = {"Connection": "close"}


class RequestId:
    """An id for the request: the client's if it is a sane one. Log lines have it, and the answer's header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        this_id = given if SANE_ID.fullmatch(given) else f"{getrandbits(128):032x}"
        json_logs.request_id.set(this_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"x-request-id", this_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_with_id)


class AccessLog:
    """A log line and a measurement for each request, however it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 499  # nginx's number for: client closed request

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            log_request(scope, status, time.perf_counter() - started)


def log_request(scope: Scope, status: int, seconds: float) -> None:
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    client = scope["client"][0] if scope.get("client") else None
    # The path is without the query, where people put secrets.
    fields = {
        "ip_address": client,
        "method": scope["method"],
        "path": scope["path"][:500],
        "event_type": "request",
        "status_code": status,
        "duration_ms": round(seconds * 1e3, 1),
    }
    logger.log(level, "request", extra=fields)
    # The route's template, not the path: a number that grows with what people type would fill the memory.
    route = getattr(scope.get("route"), "path", "none")
    metrics.requests_of(scope["method"] if route != "none" else "any", route, status).observe(seconds)


class UnexpectedErrors:
    """What nothing else has handled is logged and reported; the outside gets a 500 without a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            logger.exception("unhandled error", extra={"event_type": "error", "error": type(error).__name__})
            sentry.report(error, scope)
            if not started:  # else the server cuts the connection, which the client can see
                words = "Something went wrong here; it has been logged."
                await Problem(500, "internal_error", words).response()(scope, receive, send)


class CancelOnDisconnect:
    """Work on a POST, which may take long, ends when the client leaves before its answer has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        watched = WatchedClient(receive, send)
        try:
            with watched.work, suppress(ClientDisconnect):  # the latter is what Starlette makes of it
                await self.app(scope, watched.receive, watched.send)
        finally:
            watched.stop()


class WatchedClient:
    """The two ends of a request. Once its body is there, the message after it is awaited: it says that the
    client has left. The application gets that one too, when it asks for it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.of_server, self.to_server = receive, send
        self.work = anyio.CancelScope()
        self.started = False
        self.after_body: asyncio.Task[Message] | None = None

    async def next_message(self) -> Message:
        message = await self.of_server()
        if message["type"] == "http.disconnect" and not self.started:
            self.work.cancel()
        return message

    async def receive(self) -> Message:
        if self.after_body is not None:
            return await asyncio.shield(self.after_body)
        message = await self.next_message()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.after_body = asyncio.create_task(self.next_message())
        return message

    async def send(self, message: Message) -> None:
        if self.work.cancel_called:
            await anyio.lowlevel.checkpoint()  # the work ends here: the client has left
        self.started = True
        await self.to_server(message)

    def stop(self) -> None:
        if self.after_body is not None:
            self.after_body.cancel()


class BodyTimeLimit:
    """All of a body arrives within SLOWEST; else a 408."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        until = asyncio.get_running_loop().time() + SLOWEST
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            try:
                async with asyncio.timeout_at(None if complete else until):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "slow_body", "The body did not arrive in time.", CLOSE) from None
            complete = not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)


class BodySizeLimit:
    """A body has at most LARGEST bytes; else a 413."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST:
                raise Problem(413, "too_large", f"At most {LARGEST} bytes are taken.", CLOSE)
            return message

        await self.app(scope, receive_bounded, send)


MIDDLEWARE = [
    Middleware(each)
    for each in (RequestId, AccessLog, UnexpectedErrors, CancelOnDisconnect, BodyTimeLimit, BodySizeLimit)
]
