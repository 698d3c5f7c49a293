"""Around every request: an id and a log line, a bound on the body, and no traceback to the outside.

Pure ASGI: Starlette's BaseHTTPMiddleware costs several times as much.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from secrets import token_hex

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_app import metrics
from lab_app.json_logs import request_id, user_id
from lab_app.problems import Problem

logger = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE = 499  # nginx's number for: no answer was sent, since nobody waited for it
LONGEST_PATH = 500  # characters in the log


class RequestLog:
    """One log line a request, with the id that the response carries in X-Request-ID."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        this_id = given if SANE_ID.fullmatch(given) else token_hex(16)
        request_id.set(this_id)
        user_id.set(None)
        started = time.perf_counter()
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", this_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:
            logger.exception("unhandled error", extra={"event_type": "error", "error": type(error).__name__})
            if status is None:  # else the server cuts the connection, which the client can see
                wrong = Problem(500, "internal_error", "Something went wrong here; it has been logged.")
                await wrong.response()(scope, receive, send_with_id)
        finally:
            log_request(scope, status or CLIENT_GONE, time.perf_counter() - started)


def log_request(scope: Scope, status: int, seconds: float) -> None:
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    client = scope.get("client")
    fields = {
        "event_type": "request",
        "ip_address": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:LONGEST_PATH],  # without the query, where people put secrets
        "status_code": status,
        "duration_ms": round(seconds * 1000, 1),
    }
    logger.log(level, "request", extra=fields)
    # The route's template, not the path: a number that grows with what people type would fill the memory.
    route = getattr(scope.get("route"), "path", "none")
    metrics.requests.labels(scope["method"] if route != "none" else "any", route, status).observe(seconds)


class BodyLimit:
    """Reads the whole body before the application runs: at most `size` bytes, in at most `seconds`.

    Without the time limit, a client that sends a byte now and then could hold up a shutdown for ever.
    """

    def __init__(self, app: ASGIApp, *, size: int, seconds: float) -> None:
        self.app = app
        self.size = size
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if b"content-length" not in headers and b"transfer-encoding" not in headers:  # there is no body
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await self.read(headers.get(b"content-length", b""), receive)
        except TimeoutError:
            problem = Problem(408, "slow_body", "The body did not arrive in time.", headers=CLOSE)
            await problem.response()(scope, receive, send)
            return
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is None:
            return  # the client left: nobody to answer
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    async def read(self, announced: bytes, receive: Receive) -> bytes | None:
        received = bytearray()
        more = True
        while more:
            if len(received) > self.size or (announced.isdigit() and int(announced) > self.size):
                raise Problem(413, "too_large", f"At most {self.size} bytes are taken.", headers=CLOSE)
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            received += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(received)


# What is left of a body that was not read must not be taken for the next request.
CLOSE = {"Connection": "close"}
