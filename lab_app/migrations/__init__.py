"""How the database came to be as it is, step by step: applied with `python -m lab_app.migrations`."""

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine


async def migrate(engine: AsyncEngine) -> None:
    """Bring the database to the newest step, or leave it as it is."""
    from alembic import command  # a server that is migrated already does without it
    from alembic.config import Config

    def upgrade(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "lab_app:migrations")
        command.upgrade(config, "head")

    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
