"""`python -m lab_app.migrations [REVISION]`: bring the database to the newest step, or to the one named."""

import asyncio
import sys

from alembic.util import CommandError

from lab_app.ledger import FAILURES, Ledger
from lab_app.migrations import migrate
from lab_app.reasons import why
from lab_app.settings import load_settings

try:
    asyncio.run(migrate(Ledger(load_settings()).engine, *sys.argv[1:2]))
except CommandError as error:
    raise SystemExit(f"migrations: {error}") from None
except FAILURES as error:
    raise SystemExit(f"migrations: the database does not serve: {why(error)}") from None
