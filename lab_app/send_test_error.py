"""`python -m lab_app.send_test_error`: an error as the application would send it, and whether it came."""

import time
from secrets import token_hex
from typing import Any, cast

import sentry_sdk

from lab_app import __version__, json_logs, sentry, settings

sentry.start(settings.load_settings())
if not (transport := cast(Any, sentry_sdk.get_client().transport)):
    raise SystemExit("SENTRY_DSN is not set: errors go nowhere")
lost: list[str] = []
transport.on_dropped_event = lost.append
json_logs.request_id.set(f"test-{token_hex(8)}")
try:
    raise RuntimeError(f"private-{json_logs.request_id.get()}")  # must not be found there
except RuntimeError as error:
    event = sentry.report(error, {})
started = time.monotonic()
sentry_sdk.flush(20.0)
if lost or time.monotonic() - started >= 20:
    raise SystemExit(f"the collector did not take it: {lost[0] if lost else 'no answer in time'}")
print(f"event {event}, request_id {json_logs.request_id.get()}, release {__version__}")
