"""Logs: one JSON object a line, from this application, its libraries and uvicorn."""

import io
import logging
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from pydantic import SecretStr
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter, orjson_default

from lab_app.log_files import LogFiles
from lab_app.settings import Settings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
user_id: ContextVar[str | None] = ContextVar("user_id", default=None)

# A field of these names that somebody adds does not count: searches and the choice of files rely on them.
OWN = ("timestamp", "level", "event_type", "logger")
# What some programs take for the end of a line, or for a command to the terminal, in text that JSON leaves.
BREAKS = {code: f"\\u{code:04x}" for code in (*range(0x80, 0xA0), 0x2028, 0x2029)}
DEEPEST = 6  # levels of a value that could not be written as it was
LONGEST = 100  # entries of each of its containers


class JsonFormatter(OrjsonFormatter):
    """A record as a line of JSON. Writes a poorer line rather than none, and never raises."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__(
            json_default=default,
            reserved_attrs=[*RESERVED_ATTRS, "color_message", "taskName", *OWN],
            rename_fields={"exc_info": "traceback"},
        )
        # As they are in a line. What is shorter is no secret, and would be found in innocent words.
        self.secrets = [orjson.dumps(secret).decode()[1:-1] for secret in secrets if len(secret) >= 8]

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        # Not by the library's own version, which takes longer: this is where the time of a line goes.
        log_data |= head(record, record.message)
        names = self.rename_fields
        log_data |= {names.get(key, key): value for key, value in message_dict.items() if key not in OWN}
        log_data |= {key: value for key, value in vars(record).items() if key not in self.reserved_attrs}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except (TypeError, ValueError, RecursionError):  # lone surrogates, huge integers, odd keys, cycles
            return orjson.dumps(plain(log_data)).decode()

    def format(self, record: logging.LogRecord) -> str:
        try:
            line = super().format(record)
        except Exception as error:  # noqa: BLE001 - a log call that is itself wrong must not lose its line
            wrong = head(record, text(record.msg)) | {"error": f"log call failed: {type(error).__name__}"}
            line = orjson.dumps(plain(wrong)).decode()
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line if line.isascii() else line.translate(BREAKS)


def head(record: logging.LogRecord, message: str) -> dict[str, Any]:
    """The fields that every line has, in this order."""
    # Always six digits and UTC, so that the order of the text is the order of time.
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
    source = "server" if str(record.name).startswith("uvicorn") else "application"
    fields = {
        "timestamp": moment.removesuffix("+00:00") + "Z",
        "level": record.levelname,
        "message": message,
        "event_type": getattr(record, "event_type", source),
        "logger": record.name,
        "request_id": request_id.get(),
    }
    if (user := user_id.get()) is not None:
        fields["user_id"] = user
    return fields


def plain(value: object, depth: int = 0) -> Any:
    """The value as something that JSON can hold for certain."""
    if isinstance(value, dict) and depth < DEEPEST:
        return {text(key): plain(entry, depth + 1) for key, entry in list(value.items())[:LONGEST]}
    if isinstance(value, list | tuple | set | frozenset) and depth < DEEPEST:
        return [plain(entry, depth + 1) for entry in list(value)[:LONGEST]]
    try:
        return orjson.Fragment(orjson.dumps(value, default=default))
    except (TypeError, ValueError, RecursionError):
        return text(value)


def default(value: object) -> Any:
    """What is written of a value that JSON has no kind for."""
    return float(value) if isinstance(value, Decimal) else orjson_default(value)


def text(value: object) -> str:
    """The value as text that can be encoded."""
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - an object's own __str__ can do anything; too many digits raise as well
        return f"<{type(value).__name__}>"


def configure_logging(settings: Settings) -> None:
    """Send everything, as JSON, to files in `log_dir`, or else to standard output."""
    handler: logging.Handler
    if settings.log_dir:
        # Not to standard output as well: a supervisor would keep it, and so each line twice. Standard error
        # is for what is wrong with the files themselves, which they cannot tell.
        try:
            handler = LogFiles(settings.log_dir)
        except OSError as error:
            raise SystemExit(f"settings: LOG_DIR: {error} (no log can be written there)") from None
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):  # whatever the server's locale is
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        handler = logging.StreamHandler(sys.stdout)
    # What no line holds need not be found out for each: the library's own advice for speed.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    secrets = [value for _, value in settings if isinstance(value, SecretStr)] + [*settings.api_keys.values()]
    handler.setFormatter(JsonFormatter([secret.get_secret_value() for secret in secrets]))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger("lab_app").setLevel(settings.log_level)
    # Requests are logged by our own middleware, which knows the request id and the duration.
    logging.getLogger("uvicorn.access").handlers.clear()
    uvicorn = logging.getLogger("uvicorn")
    uvicorn.handlers.clear()
    uvicorn.propagate = True
    # On DEBUG these write what they send: prompts, and addresses on INFO. OPENAI_LOG must not turn that on.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
