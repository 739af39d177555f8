"""A worker's connections: transactions that begin and end by themselves, and connections that the server closed."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from app.database import Database, HotStatement

BACKEND = HotStatement("SELECT pg_backend_pid()")


async def test_what_failed_is_rolled_back(database: Database) -> None:
    """Through SQLAlchemy or past it, the block is one transaction; the connection can be used again."""

    async def fail() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO workspaces (workspace_id, name) VALUES (7, 'seven')"))
            await HotStatement("SELECT 1 / CAST(:zero AS int)").rows(connection, zero=0)

    for _ in range(20):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM workspaces"))).scalar_one() == 1
        assert (await connection.execute(text("SHOW enable_seqscan"))).scalar_one() == "off"


async def test_planner_settings_end_with_the_transaction(database: Database) -> None:
    """Behind a pooler the next transaction may be somebody else's."""
    async with database.begin():
        pass
    async with database.snapshot() as connection:
        assert (await connection.execute(text("SHOW enable_seqscan"))).scalar_one() == "on"


async def test_a_cancelled_transaction_leaves_nothing_behind(database: Database) -> None:
    """Cancelled in the middle of a statement: rolled back, and told as a cancellation."""
    began = asyncio.Event()

    async def work() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO workspaces (workspace_id, name) VALUES (7, 'seven')"))
            began.set()
            await HotStatement("SELECT pg_sleep(60)").rows(connection)

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM workspaces"))).scalar_one() == 1


async def test_a_connection_that_the_server_closed_is_replaced(database: Database, dsn: str) -> None:
    """Without a ping, and without an error: the closed socket is seen."""
    async with database.begin() as connection:
        [(pid,)] = await BACKEND.rows(connection)
        driver = (await connection.get_raw_connection()).driver_connection
    killer = await asyncpg.connect(dsn)
    assert await killer.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    await killer.close()
    async with asyncio.timeout(10):
        while not driver.is_closed():  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
    async with database.begin() as connection:
        [(other,)] = await BACKEND.rows(connection)
    assert other != pid
