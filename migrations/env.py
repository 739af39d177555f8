"""Alembic's entry: runs the migrations over asyncpg, on the DSN that the caller put in the config."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.database import Database, resolve_dsn
from app.models import Base
from app.settings import load_settings

LOCK_TIMEOUT = "5s"
MIGRATION_LOCK = 0x4C494D42  # "LIMB": two processes that migrate at once take turns


def migrate(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.run_migrations()


async def run() -> None:
    dsn = context.config.attributes.get("dsn") or await resolve_dsn(load_settings())
    database = Database(dsn, pool_size=1, application_name="limbeck-migrate")
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(migrate)
            await connection.commit()
    finally:
        await database.close()


asyncio.run(run())
