"""Logs: one JSON object a line, from this application, its libraries and uvicorn."""

import logging
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from pydantic import Secret
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.defaults import unknown_default
from pythonjsonlogger.orjson import OrjsonFormatter, orjson_default

from lab_app.log_files import LogFiles
from lab_app.settings import Settings

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
user_id: ContextVar[str | None] = ContextVar("user_id", default=None)

# A field of these names that somebody adds does not count: searches and the choice of files rely on them.
OWN = ("timestamp", "level", "event_type", "logger")
NAMES = {"exc_info": "traceback"}  # what a field of the library's is called here
# What some programs take for the end of a line, or for a command to the terminal, in text that JSON leaves.
BREAKS = {code: f"\\u{code:04x}" for code in (*range(0x80, 0xA0), 0x2028, 0x2029)}


class JsonFormatter(OrjsonFormatter):
    """A record as a line of JSON. Writes a poorer line rather than none, and never raises."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        reserved = [*RESERVED_ATTRS, "color_message", "taskName", *OWN]
        super().__init__(json_default=known, reserved_attrs=reserved)
        # As they are in a line. What is shorter is no secret, and would be found in innocent words.
        self.secrets = [orjson.dumps(secret).decode()[1:-1] for secret in secrets if len(secret) >= 8]

    def format(self, record: logging.LogRecord) -> str:
        try:
            line = super().format(record)
        except Exception as error:  # noqa: BLE001 - a log call that is itself wrong must not lose its line
            record.msg, record.args = text(record.msg), ()
            vars(record)["error"] = f"log call failed: {type(error).__name__}"
            line = super().format(record)
        for secret in self.secrets:
            line = line.replace(secret, "***")
        return line if line.isascii() else line.translate(BREAKS)

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        # Not by the library's own version, which takes longer: this is where the time of a line goes.
        attributes = vars(record)
        log_data["timestamp"] = timestamp(record.created)
        log_data["level"] = record.levelname
        log_data["message"] = record.message
        log_data["event_type"] = attributes["event_type"] if "event_type" in attributes else source(record)
        log_data["logger"] = record.name
        log_data["request_id"] = request_id.get()
        if (user := user_id.get()) is not None:
            log_data["user_id"] = user
        for key, value in message_dict.items():
            if key not in OWN:
                log_data[NAMES.get(key, key)] = value
        reserved = self.reserved_attrs
        for key, value in attributes.items():
            if key not in reserved:
                log_data[key] = value

    def serialize_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return orjson.dumps(log_data, known, orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # lone surrogates, huge integers, odd keys, cycles
            return orjson.dumps({text(key): plain(value) for key, value in log_data.items()}).decode()


def timestamp(created: float) -> str:
    """Always six digits and UTC, so that the order of the text is the order of time."""
    seconds, microseconds = divmod(round(created * 1e6), 1_000_000)
    return f"{date_and_time(seconds)}.{microseconds:06}Z"


@lru_cache(maxsize=1)
def date_and_time(seconds: int) -> str:
    """The same for all lines of a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def source(record: logging.LogRecord) -> str:
    """The event type of what names none."""
    return "server" if str(record.name).startswith("uvicorn") else "application"


def known(value: object) -> Any:
    """What JSON has no type for. A decimal is a number with all of its digits."""
    exact = isinstance(value, Decimal) and value.is_finite()
    return orjson.Fragment(f"{value:f}") if exact else orjson_default(value)


def plain(value: object) -> Any:
    """The value if JSON can hold it, else its text."""
    try:
        return orjson.Fragment(orjson.dumps(value, default=known))
    except TypeError:
        return text(value)


def text(value: object) -> str:
    """The value as text that can be encoded."""
    return unknown_default(value).encode("utf-8", "backslashreplace").decode()


def configure_logging(settings: Settings) -> None:
    """Send everything, as JSON, to files in `log_dir`, or else to standard output."""
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if settings.log_dir:
        # Not to standard output as well: a supervisor would keep it, and so each line twice. Standard error
        # is for what is wrong with the files themselves, which they cannot tell.
        try:
            handler = LogFiles(settings.log_dir)
        except OSError as error:
            raise SystemExit(f"settings: LOG_DIR: {error} (no log can be written there)") from None
    # What no line holds need not be found out for each: the library's own advice for speed.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    secrets = [value for _, value in settings if isinstance(value, Secret)] + [*settings.api_keys.values()]
    handler.setFormatter(JsonFormatter([secret.get_secret_value() for secret in secrets]))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger("lab_app").setLevel(settings.log_level)
    # Requests are logged by our own middleware, which knows the request id and the duration.
    for name in ("uvicorn", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
    logging.getLogger("uvicorn").propagate = True
    # On DEBUG these write what they send: prompts, and addresses on INFO. OPENAI_LOG must not turn that on.
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
