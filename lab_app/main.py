"""What the server serves: `uvicorn lab_app.main:app`."""

from lab_app import errors
from lab_app.app import create_app
from lab_app.json_logs import configure_logging
from lab_app.settings import load_settings

settings = load_settings()
configure_logging(settings)
errors.start(settings)
app = create_app(settings)
