"""The ledger's table."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    texts = {"request_id": 64, "user_id": 200, "model": 200, "outcome": 20}
    op.create_table(
        "usage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        *(sa.Column(name, sa.String(size), nullable=False) for name, size in texts.items()),
        *(sa.Column(f"{kind}_tokens", sa.Integer, nullable=False) for kind in ("prompt", "completion")),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("cost_usd", sa.Numeric(16, 10)),
        sa.Column("duration_ms", sa.Float, nullable=False),
        sa.Index("usage_by_user", "user_id", "asked_at"),
    )
