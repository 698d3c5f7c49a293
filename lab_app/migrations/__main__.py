"""`python -m lab_app.migrations [REVISION]`: bring the database to the newest step, or to the one named."""

import sys

from alembic.util import CommandError

from lab_app import ledger
from lab_app.migrations import migrate
from lab_app.reasons import why
from lab_app.settings import load_settings


def main(target: str) -> None:
    try:
        migrate(ledger.address(load_settings()), target)
    except CommandError as error:
        raise SystemExit(f"migrations: {error}") from None
    except ledger.FAILURES as error:
        raise SystemExit(f"migrations: the database does not serve: {why(error)}") from None


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "head")
