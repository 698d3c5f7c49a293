"""`python -m lab_app.migrations`: bring the database to the newest step."""

import asyncio

from lab_app.ledger import FAILURES, Ledger
from lab_app.migrations import migrate
from lab_app.reasons import why
from lab_app.settings import load_settings

try:
    asyncio.run(migrate(Ledger(load_settings()).engine))
except FAILURES as error:
    raise SystemExit(f"migrations: the database does not serve: {why(error)}") from None
