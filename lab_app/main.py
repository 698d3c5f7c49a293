"""What the server serves: `uvicorn lab_app.main:app`."""

from lab_app import json_logs, sentry
from lab_app.app import create_app
from lab_app.settings import load_settings

settings = load_settings()
json_logs.configure_logging(settings)
sentry.start(settings)
app = create_app(settings)
