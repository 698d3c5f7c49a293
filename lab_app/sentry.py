"""Errors that nobody expected, to a collector that speaks Sentry's protocol: where, and in which request.

What was in it stays here: the log has it, under the same id.

To hand one over costs a request a few milliseconds, and no waiting: a thread sends them, and of those that
wait for a collector that hangs it keeps 100.
"""

import time
from collections.abc import Mapping
from typing import Any

import sentry_sdk

from lab_app import __version__, json_logs
from lab_app.settings import Settings

latest = [float("-inf")] * 20  # when they were sent: so many a minute are enough to see what a storm is of
# The rest of an event stays here, and of an exception what it says: that may quote anything.
SENT = {"event_id", "timestamp", "platform", "level", "release", "tags", "exception", "fingerprint", "sdk"}


def start(settings: Settings) -> None:
    """From now on `report` sends; without SENTRY_DSN it does nothing."""
    dsn = settings.sentry_dsn.get_secret_value() if settings.sentry_dsn else ""
    # By itself it would send the values of variables, log lines, requests, the command line.
    quiet: Any = {"default_integrations": False, "include_local_variables": False}
    sentry_sdk.init(dsn, release=__version__, before_send=reduced, **quiet)


def reduced(event: Any, _: object) -> Any:
    """What is sent of an event; None for one too many."""
    if time.monotonic() - latest[0] < 60:
        return None
    latest[:] = [*latest[1:], time.monotonic()]
    for each in event["exception"]["values"]:
        each["value"] = ""
        # One group for each way to the same place, as long as the names of its functions stay.
        ways = [frame["function"] for frame in each.get("stacktrace", {}).get("frames", [])]
        event["fingerprint"] = [each["type"], *ways]
    return {name: event[name] for name in SENT & set(event)}


def report(error: BaseException, scope: Mapping[str, Any]) -> str | None:
    """Hand over an error of a request; its id, if it is sent."""
    route = getattr(scope.get("route"), "path", "none")
    tags = {"request_id": json_logs.request_id.get(), "route": route}
    return sentry_sdk.capture_exception(error, tags=tags)
