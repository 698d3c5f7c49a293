"""Every error answer has one shape: problem details (RFC 9457), never a traceback."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from lab_app.json_logs import request_id


class Problem(HTTPException):
    """Ends a request with an error answer. `reason` is a short name for programs, `detail` is for people."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] = {}) -> None:
        super().__init__(status, detail, headers)
        self.reason = reason

    def body(self) -> dict[str, object]:
        told = {"reason": self.reason, "detail": self.detail, "request_id": request_id.get()}
        return {"title": HTTPStatus(self.status_code).phrase, "status": self.status_code, **told}

    def response(self) -> Response:
        return JSONResponse(self.body(), self.status_code, self.headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Give all of the framework's own errors the same shape."""

    @app.exception_handler(StarletteHTTPException)
    async def http_error(_: Request, error: StarletteHTTPException) -> Response:
        if isinstance(error, Problem):
            return error.response()
        reason = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        return Problem(error.status_code, reason, error.detail, error.headers or {}).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where and why, but not what: the input is the person's own text and is not repeated.
        wrong = [f"{'.'.join(map(str, each['loc']))[:100]}: {each['msg']}" for each in error.errors()[:5]]
        detail = "; ".join(wrong).encode("ascii", "replace").decode()
        return Problem(422, "invalid", detail, getattr(request.state, "headers", {})).response()
