"""Every error answer has one shape: problem details (RFC 9457), never a traceback."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from lab_app.json_logs import request_id

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(BaseModel):
    """What an error answer says. `reason` is a short name for programs, `detail` is for people."""

    title: str
    status: int
    reason: str
    detail: str
    request_id: str | None


class Problem(HTTPException):
    """Ends a request with an error answer."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] = {}) -> None:
        super().__init__(status, detail, headers)
        self.reason = reason

    def body(self) -> dict[str, object]:
        title, this_request = HTTPStatus(self.status_code).phrase, request_id.get()
        return ProblemDetails(
            title=title,
            status=self.status_code,
            reason=self.reason,
            detail=self.detail,
            request_id=this_request,
        ).model_dump()

    def response(self, headers: Mapping[str, str] = {}) -> Response:
        """The answer, with its own headers and these."""
        return JSONResponse(self.body(), self.status_code, {**headers, **(self.headers or {})}, MEDIA_TYPE)


def documented(meanings: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """For the `responses` of a route: these statuses come as problem details, and mean this."""
    content = {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema()}}
    return {status: {"description": meaning, "content": content} for status, meaning in meanings.items()}


def headers_of(request: Request) -> Mapping[str, str]:
    """What a dependency has set for whatever answer comes."""
    headers: Mapping[str, str] = getattr(request.state, "headers", {})
    return headers


def install(app: FastAPI) -> None:
    """Give all of the framework's own errors the same shape."""

    @app.exception_handler(StarletteHTTPException)
    async def http_error(request: Request, error: StarletteHTTPException) -> Response:
        if not isinstance(error, Problem):
            reason = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
            error = Problem(error.status_code, reason, error.detail, error.headers or {})
        return error.response(headers_of(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where and why, but not what: the input is the person's own text and is not repeated.
        wrong = [f"{'.'.join(map(str, each['loc']))[:100]}: {each['msg']}" for each in error.errors()[:5]]
        detail = "; ".join(wrong).encode("ascii", "replace").decode()
        return Problem(422, "invalid", detail).response(headers_of(request))
