"""`python -m lab_app.migrations`: bring the database to the newest step."""

import asyncio

from lab_app import ledger, migrations, reasons, settings

try:
    asyncio.run(migrations.migrate(ledger.Ledger(settings.load_settings()).engine))
except ledger.FAILURES as error:
    raise SystemExit(f"migrations: the database does not serve: {reasons.why(error)}") from None
