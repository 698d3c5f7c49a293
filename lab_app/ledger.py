"""The ledger: a row for each question that was answered, or paid for without an answer."""

import asyncio
import sqlite3
from dataclasses import asdict, dataclass, fields
from decimal import Decimal

from sqlalchemy import column, select, table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from lab_app.json_logs import request_id, user_id
from lab_app.settings import Settings

LAPTOP = "sqlite+aiosqlite:///lab_app.db"  # in the working directory
sqlite3.register_adapter(Decimal, str)  # a column of numbers makes it one

FAILURES = (SQLAlchemyError, OSError, TimeoutError)
LIMIT = 2.0  # seconds for a row; PostgreSQL's client would wait for minutes


@dataclass(frozen=True)
class Entry:
    """What a question came to; who asked, and in which request, the context tells."""

    model: str
    outcome: str  # answered, cached, failed, cancelled
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False  # the model did not get to say how many tokens it were
    cost_usd: Decimal | None = Decimal()  # None where no price is known
    duration_ms: float = 0.0


# lab_app.migrations says what the columns are; here are their names.
COLUMNS = ["id", "request_id", "user_id", *(field.name for field in fields(Entry))]
usage = table("usage", *map(column, COLUMNS))


def address(settings: Settings) -> str:
    """The database's URL as SQLAlchemy wants it; without one, a file on a laptop."""
    if settings.database_url is None:
        return LAPTOP
    scheme, _, rest = settings.database_url.get_secret_value().partition("://")
    return f"{'postgresql+asyncpg' if scheme in ('postgresql', 'postgres') else scheme}://{rest}"


class Ledger:
    def __init__(self, settings: Settings) -> None:
        # A connection that broke off is not used again. What goes wrong is logged: without what was to be
        # written.
        self.engine = create_async_engine(address(settings), pool_pre_ping=True, hide_parameters=True)

    async def add(self, entry: Entry) -> None:
        """Write a row. Raises one of FAILURES."""
        context = {"request_id": request_id.get() or "", "user_id": user_id.get() or "anonymous"}
        async with asyncio.timeout(LIMIT), self.engine.begin() as connection:
            await connection.execute(usage.insert().values(**context, **asdict(entry)))

    async def look(self) -> None:
        """See whether the ledger can be read. Raises what is wrong."""
        async with self.engine.connect() as connection:
            await connection.execute(select(usage.c.id).limit(1))
