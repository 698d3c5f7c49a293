"""Logs: one JSON object a line on standard output, from this application, its libraries and uvicorn."""

from __future__ import annotations

import io
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

DEEPEST = 6  # levels of a value that could not be written as it was
LONGEST = 100  # entries of each of its containers


class JsonFormatter(OrjsonFormatter):
    """A record as a line of JSON. Writes a poorer line rather than none, and never raises."""

    def __init__(self) -> None:
        super().__init__(
            reserved_attrs=[*RESERVED_ATTRS, "color_message", "taskName"],
            rename_fields={"exc_info": "traceback"},
        )

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data |= head(record, record.message)
        super().add_fields(log_data, record, message_dict)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except (TypeError, ValueError, RecursionError):  # lone surrogates, huge integers, odd keys, cycles
            return orjson.dumps(plain(log_data)).decode()

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 - a log call that is itself wrong must not lose its line
            wrong = head(record, text(record.msg)) | {"error": f"log call failed: {type(error).__name__}"}
            return orjson.dumps(plain(wrong)).decode()


def head(record: logging.LogRecord, message: str) -> dict[str, Any]:
    """The fields that every line has, in this order."""
    # Always six digits and UTC, so that the order of the text is the order of time.
    moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    source = "server" if str(record.name).startswith("uvicorn") else "application"
    return {
        "timestamp": moment,
        "level": record.levelname,
        "message": message,
        "event_type": getattr(record, "event_type", source),
        "logger": record.name,
        "request_id": request_id.get(),
    }


def plain(value: object, depth: int = 0) -> Any:
    """The value as something that JSON can hold for certain."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, dict) and depth < DEEPEST:
        entries = list(value.items())[:LONGEST]
        return {text(key): plain(entry, depth + 1) for key, entry in entries}
    if isinstance(value, list | tuple | set | frozenset) and depth < DEEPEST:
        return [plain(entry, depth + 1) for entry in list(value)[:LONGEST]]
    return text(value)


def text(value: object) -> str:
    """The value as text that can be encoded."""
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - an object's own __str__ can do anything; too many digits raise as well
        return f"<{type(value).__name__}>"


def configure_logging(level: str) -> None:
    """Send everything to standard output as JSON; `level` is this application's own."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the server's locale is
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger("lab_app").setLevel(level)
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        # Requests are logged by our own middleware, which knows the request id and the duration.
        logger.propagate = name != "uvicorn.access"
    # On DEBUG these write what they send: prompts, and addresses on INFO.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
