"""The error collector of the stand-in internet: Bugsink in one process, and all it keeps in one folder."""

import os
import secrets
from pathlib import Path

from bugsink.settings.default import *  # noqa: F403
from bugsink.settings.default import DATABASES

STATE = Path(os.environ["STATE_DIRECTORY"])
SECRET_KEY = secrets.token_urlsafe(48)  # of browser sessions alone: a restart ends them

DATABASES["default"]["NAME"] = str(STATE / "errors.sqlite3")
DATABASES["snappea"]["NAME"] = str(STATE / "tasks.sqlite3")
SNAPPEA = {
    "TASK_ALWAYS_EAGER": True,
    "NUM_WORKERS": 1,
}  # what it would leave to a second process, it does at once
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
SENTRY_DSN = None
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

NAME = os.environ["COLLECTOR_NAME"]
ALLOWED_HOSTS = [NAME]
BUGSINK = {
    "BASE_URL": f"https://{NAME}",
    "SITE_TITLE": "Errors",
    "SINGLE_USER": True,
    "SINGLE_TEAM": True,
    "PHONEHOME": False,
    "DIGEST_IMMEDIATELY": True,
    "INGEST_STORE_BASE_DIR": str(STATE / "ingestion"),
    "MAX_RETENTION_EVENT_COUNT": 2000,
}
