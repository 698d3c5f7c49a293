"""The ledger: a row for each question that was answered, or paid for without an answer."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from sqlalchemy import Float, Numeric, column, select, table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from lab_app.settings import Settings

# To the last digit: a token costs some ten-millionths of a dollar. SQLite knows no decimals.
DOLLARS = Numeric(16, 10).with_variant(Float(asdecimal=True, decimal_return_scale=10), "sqlite")
LAPTOP = "sqlite+aiosqlite:///lab_app.db"  # in the working directory

NOTHING = Decimal(0)

FAILURES = (SQLAlchemyError, OSError, TimeoutError)
LIMIT = 2.0  # seconds for a row; PostgreSQL's client would wait for minutes


@dataclass(frozen=True)
class Entry:
    request_id: str
    user_id: str
    model: str
    outcome: str  # answered, cached, failed, cancelled
    prompt_tokens: int
    completion_tokens: int
    estimated: bool  # the model did not get to say how many tokens it were
    cost_usd: Decimal | None  # None where no price is known
    duration_ms: float

    def for_the_log(self) -> dict[str, Any]:
        """What a log line says of it, beside who asked and in which request, which each line says."""
        cost = None if self.cost_usd is None else float(self.cost_usd)
        entry = asdict(self) | {"cost_usd": cost}
        return {name: value for name, value in entry.items() if name not in ("request_id", "user_id")}


# lab_app.migrations says what the columns are; here are their names.
COLUMNS = [column(field.name, DOLLARS if field.name == "cost_usd" else None) for field in fields(Entry)]
usage = table("usage", column("id"), column("asked_at"), *COLUMNS)


def address(settings: Settings) -> str:
    """The database's URL as SQLAlchemy wants it; without one, a file on a laptop."""
    if settings.database_url is None:
        return LAPTOP
    scheme, _, rest = settings.database_url.get_secret_value().partition("://")
    return f"{'postgresql+asyncpg' if scheme in ('postgresql', 'postgres') else scheme}://{rest}"


class Ledger:
    def __init__(self, url: str) -> None:
        limits = {"pool_timeout": LIMIT, "pool_pre_ping": True} if url.startswith("postgresql") else {}
        # What goes wrong is logged: without what was to be written.
        self.engine = create_async_engine(url, hide_parameters=True, **limits)

    async def add(self, entry: Entry) -> None:
        """Write a row. Raises one of FAILURES."""
        async with asyncio.timeout(LIMIT), self.engine.begin() as connection:
            await connection.execute(usage.insert().values(**asdict(entry)))

    async def look(self) -> None:
        """See whether the ledger can be read. Raises what is wrong."""
        async with self.engine.connect() as connection:
            await connection.execute(select(usage.c.id).limit(1))

    async def close(self) -> None:
        await self.engine.dispose()
