"""The ledger: a row for each question that was answered, or paid for without an answer."""

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import (
    BigInteger,
    DateTime,
    Float,
    Index,
    Integer,
    Numeric,
    String,
    false,
    func,
    insert,
    select,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from lab_app.json_logs import request_id, user_id
from lab_app.settings import Settings

LAPTOP = "sqlite+aiosqlite:///lab_app.db"  # in the working directory
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


class Base(DeclarativeBase):
    """Of the tables that this application has."""


class Usage(Base):
    """A row. lab_app.migrations makes the table, and a test compares the two."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_by_user", "user_id", "asked_at"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    request_id: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(String(200))
    model: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(20))
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    estimated: Mapped[bool]
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(16, 10))
    duration_ms: Mapped[float] = mapped_column(Float)


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
            await connection.execute(insert(Usage).values(**context, **asdict(entry)))

    async def look(self) -> None:
        """See whether the ledger can be read and written, with every column. Raises what is wrong.

        An insert of no row fails where one of a row would: without the right to write, in a database that is
        read-only. It leaves nothing behind, and uses up no id.
        """
        no_row = insert(Usage).from_select(Usage.__table__.columns.keys(), select(Usage).where(false()))
        async with self.engine.connect() as connection:
            await connection.execute(no_row)

    async def aclose(self) -> None:
        """Close its connections."""
        await self.engine.dispose()
