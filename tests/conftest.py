"""Fixtures: real Postgres, a fresh migrated database a test, the API in this process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.database import Database, start_embedded
from app.migrate import upgrade
from tests.support.stack import Client, serving, teachers_of

NUMBERS = itertools.count(1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    import os

    for name in list(os.environ):
        if name.startswith("LIMBECK_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An embedded PostgreSQL for this run, with a migrated template database in it."""
    folder: Path = tmp_path_factory.mktemp("pg", numbered=True)
    dsn = start_embedded(folder)
    asyncio.run(_make_template(dsn))
    return dsn


async def _make_template(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE DATABASE migrated")
    await connection.close()
    await upgrade(database_dsn(dsn, "migrated"))


def database_dsn(dsn: str, name: str) -> str:
    """The same server, another database."""
    return dsn.replace("/postgres?", f"/{name}?", 1)


@pytest.fixture
async def dsn(server_dsn: str) -> AsyncIterator[str]:
    """A database of this test's own, cloned from the migrated template."""
    name = f"test_{next(NUMBERS)}"
    connection = await asyncpg.connect(server_dsn)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    yield database_dsn(server_dsn, name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The database as a worker opens it."""
    database = Database(dsn, lookups=True)
    yield database
    await database.close()


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    """The API with one teacher that nothing answers for: enough for all that asks no teacher."""
    async with serving(database, teachers_of("http://127.0.0.1:9")) as client:
        yield client
