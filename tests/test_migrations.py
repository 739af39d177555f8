"""The migrations: they make what the models say, and can be undone."""

from __future__ import annotations

import asyncio

import asyncpg
from alembic import command

from app.migrate import alembic_config, newest_revision, upgrade
from tests.conftest import database_dsn
from tests.support.processes import process


async def test_the_migrated_schema_is_what_the_models_say(dsn: str) -> None:
    """`alembic check` finds nothing to add."""
    await asyncio.to_thread(command.check, alembic_config(dsn))


async def test_down_and_up_again(server_dsn: str) -> None:
    """To nothing and back, on a database of its own; a second upgrade changes nothing."""
    connection = await asyncpg.connect(server_dsn)
    await connection.execute("CREATE DATABASE updown")
    dsn = database_dsn(server_dsn, "updown")
    await asyncio.gather(_migrate(dsn), _migrate(dsn))
    await asyncio.to_thread(command.downgrade, alembic_config(dsn), "base")
    inner = await asyncpg.connect(dsn)
    tables = await inner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row[0] for row in tables] == ["alembic_version"]
    await upgrade(dsn)
    assert await inner.fetchval("SELECT version_num FROM alembic_version") == newest_revision()
    assert await inner.fetchval("SELECT name FROM workspaces") == "default"
    await inner.close()
    await connection.close()


async def _migrate(dsn: str) -> None:
    """As a user does it; two at once take turns."""
    async with process("app.cli.main", "migrate", LIMBECK_DATABASE_URL=dsn) as child:
        assert await asyncio.wait_for(child.wait(), 60) == 0


async def test_every_tenant_tables_key_leads_with_the_workspace(dsn: str) -> None:
    """Primary keys and unique keys; `workers` is no tenant's."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT c.conrelid::regclass::text AS table_name, c.conname,
               (SELECT attname FROM pg_attribute WHERE attrelid = c.conrelid AND attnum = c.conkey[1]) AS first
        FROM pg_constraint c WHERE c.contype IN ('p', 'u') AND c.connamespace = 'public'::regnamespace
        """
    )
    await connection.close()
    others = {row["table_name"] for row in rows if row["first"] != "workspace_id"}
    assert others == {"workers", "workspaces", "alembic_version"}
