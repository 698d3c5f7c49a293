"""Around every request: an id, a log line, a bound on its body, and an end when nobody waits any longer.

What goes wrong unexpectedly is logged here, and is a 500 without a traceback for the outside.

Pure ASGI: Starlette's BaseHTTPMiddleware costs several times as much.
"""

import asyncio
import logging
import re
import time
from contextlib import nullcontext
from secrets import token_hex

import anyio
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


def around_each_request(app: ASGIApp) -> ASGIApp:
    """The same application, with all of that."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        this_id = given if SANE_ID.fullmatch(given) else token_hex(16)
        json_logs.request_id.set(this_id)
        started = time.perf_counter()
        status, received = 0, 0
        # What may take long, and so ends when nobody waits for it any longer. The rest has no body either.
        work = anyio.CancelScope() if scope["method"] == "POST" else None
        watch: asyncio.Task[Message] | None = None  # once the body is there: whether the client stays

        async def receive_bounded() -> Message:
            nonlocal status, received, watch
            try:
                async with asyncio.timeout(None if watch else started + SLOWEST - time.perf_counter()):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "slow_body", "The body did not arrive in time.", CLOSE) from None
            received += len(message.get("body", b""))
            if received > LARGEST:
                raise Problem(413, "too_large", f"At most {LARGEST} bytes are taken.", CLOSE)
            if work and not status and message["type"] == "http.disconnect":
                status = 499  # nginx's number for: nobody waited for the answer
                work.cancel()
            elif not message.get("more_body") and not watch:
                watch = asyncio.create_task(receive_bounded())
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = status or message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", this_id.encode())]
            await send(message)

        try:
            with work or nullcontext():
                await app(scope, receive_bounded, send_with_id)
        except Exception as error:
            logger.exception("unhandled error", extra={"event_type": "error", "error": type(error).__name__})
            sentry.report(error, scope)
            if not status:  # else the server cuts the connection, which the client can see
                words = "Something went wrong here; it has been logged."
                wrong = Problem(500, "internal_error", words)
                await wrong.response()(scope, receive, send_with_id)
        finally:
            if watch:
                watch.cancel()
            log_request(scope, status or 499, time.perf_counter() - started)

    return handle


def log_request(scope: Scope, status: int, seconds: float) -> None:
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    client = scope["client"][0] if scope.get("client") else None
    # The path is without the query, where people put secrets.
    asked = {"ip_address": client, "method": scope["method"], "path": scope["path"][:500]}
    fields = {**asked, "event_type": "request", "status_code": status, "duration_ms": round(seconds * 1e3, 1)}
    logger.log(level, "request", extra=fields)
    # The route's template, not the path: a number that grows with what people type would fill the memory.
    route = getattr(scope.get("route"), "path", "none")
    metrics.requests.labels(scope["method"] if route != "none" else "any", route, status).observe(seconds)
