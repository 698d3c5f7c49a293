"""Around every request: an id and a log line, a bound on the body, and no traceback to the outside.

Pure ASGI: Starlette's BaseHTTPMiddleware costs several times as much.
"""

import asyncio
import logging
import re
import time
from secrets import token_hex

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_app import metrics
from lab_app.json_logs import request_id, user_id
from lab_app.problems import Problem

logger = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


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
            # 499 is nginx's number for: no answer was sent, since nobody waited for it.
            log_request(scope, status or 499, time.perf_counter() - started)


def log_request(scope: Scope, status: int, seconds: float) -> None:
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    client = scope.get("client")
    fields = {
        "event_type": "request",
        "ip_address": client[0] if client else None,
        "method": scope["method"],
        "path": scope["path"][:500],  # without the query, where people put secrets
        "status_code": status,
        "duration_ms": round(seconds * 1000, 1),
    }
    logger.log(level, "request", extra=fields)
    # The route's template, not the path: a number that grows with what people type would fill the memory.
    route = getattr(scope.get("route"), "path", "none")
    metrics.requests.labels(scope["method"] if route != "none" else "any", route, status).observe(seconds)


class BodyLimit:
    """A bound on what the application reads of a body: at most `size` bytes, in at most `seconds`.

    Without the time limit, a client that sends a byte now and then could hold up a shutdown for ever.
    """

    def __init__(self, app: ASGIApp, *, size: int, seconds: float) -> None:
        self.app = app
        self.size = size
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method", "GET") in ("GET", "HEAD"):
            await self.app(scope, receive, send)  # which reads no body
            return
        until = asyncio.get_running_loop().time() + self.seconds
        received, more = 0, True

        async def limited() -> Message:
            nonlocal received, more
            announced = int(Headers(scope=scope).get("content-length", 0))
            try:
                # Where all is there, what is waited for is that the client leaves.
                async with asyncio.timeout_at(until if more else None):
                    message = await receive() if announced <= self.size else {}
            except TimeoutError:
                raise Problem(408, "slow_body", "The body did not arrive in time.", CLOSE) from None
            received += len(message.get("body", b""))
            more = message.get("more_body", False)
            if max(received, announced) > self.size:
                raise Problem(413, "too_large", f"At most {self.size} bytes are taken.", CLOSE)
            return message

        await self.app(scope, limited, send)


# What is left of a body that was not read must not be taken for the next request.
CLOSE = {"Connection": "close"}
