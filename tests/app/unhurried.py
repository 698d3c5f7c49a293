"""`uvicorn tests.app.unhurried:app`: lab_app.main with generous time limits."""

from tests.app import time_limits

time_limits.put_generous()

from lab_app.main import app  # noqa: E402

__all__ = ["app"]
