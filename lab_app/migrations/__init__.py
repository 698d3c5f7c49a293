"""How the database came to be as it is, step by step: applied with `python -m lab_app.migrations`."""

from __future__ import annotations


def migrate(url: str, target: str = "head") -> None:
    """Bring the database to a step: the newest, a named one, or so many back ("-1")."""
    from alembic import command  # a server that is migrated already does without it
    from alembic.config import Config

    config = Config(attributes={"url": url})
    config.set_main_option("script_location", "lab_app:migrations")
    (command.downgrade if target.startswith("-") else command.upgrade)(config, target)
