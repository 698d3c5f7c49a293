"""Every error answer has one shape: problem details (RFC 9457), never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from lab_app.json_logs import request_id


class Problem(Exception):
    """Ends a request with an error answer. `reason` is a short name for programs, `detail` is for people."""

    def __init__(
        self, status: int, reason: str, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "reason": self.reason,
            "detail": self.detail,
            "request_id": request_id.get(),
        }

    def response(self) -> Response:
        return JSONResponse(self.body(), self.status, self.headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Give all of the framework's own errors the same shape."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        reason = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, reason, str(error.detail), headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where and why, but not what: the input is the person's own text and is not repeated.
        errors = error.errors()
        if any(item["type"] == "json_invalid" for item in errors):
            return Problem(400, "not_json", "The body is not valid JSON.").response()
        detail = "; ".join(f"{'.'.join(map(str, item['loc']))[:100]}: {item['msg']}" for item in errors[:5])
        counted = getattr(request.state, "headers", None)  # where it leaves the limit, if there is one here
        detail = detail.encode("ascii", "replace").decode()
        return Problem(422, "invalid", detail, headers=counted).response()
