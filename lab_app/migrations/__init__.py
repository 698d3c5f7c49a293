"""How the database came to be as it is, step by step: applied with `python -m lab_app.migrations`."""

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine


async def migrate(engine: AsyncEngine, target: str = "head") -> None:
    """Bring the database to a step, or leave it as it is: the newest, a named one, or so many back ("-1")."""
    from alembic import command  # a server that is migrated already does without it
    from alembic.config import Config

    def step(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "lab_app:migrations")
        (command.downgrade if target.startswith("-") else command.upgrade)(config, target)

    async with engine.begin() as connection:
        await connection.run_sync(step)
