"""What the server serves: `uvicorn lab_app.main:app`."""

from lab_app import errors, json_logs
from lab_app.app import create_app
from lab_app.settings import load_settings

settings = load_settings()
json_logs.configure_logging(settings)
errors.start(settings)
app = create_app(settings)
