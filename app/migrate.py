"""Bring a database to the newest schema, from code: what `limbeck migrate` and the tests call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import InterfaceError, OperationalError

import migrations
from app.errors import ConfigurationError


def alembic_config(dsn: str | None = None) -> Config:
    """Alembic's configuration; there is no alembic.ini to find or to lose."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    config.attributes["dsn"] = dsn
    return config


def newest_revision() -> str:
    """The revision that this release's code expects."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None, "there is always a first migration"  # noqa: S101
    return head


async def upgrade(dsn: str) -> None:
    """Run what is missing. Two processes at once take turns on an advisory lock.

    Raises:
        ConfigurationError: the database cannot be reached or refuses.
    """
    try:
        await asyncio.to_thread(command.upgrade, alembic_config(dsn), "head")
    except (OSError, TimeoutError, asyncpg.PostgresError, InterfaceError, OperationalError) as exc:
        msg = f"LIMBECK_DATABASE_URL: the database does not answer, or refuses: {str(exc).splitlines()[0] if str(exc) else type(exc).__name__}"
        raise ConfigurationError(msg) from exc
