"""A server of these tests' own, repeats, and the table at the end."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.report import REPEATS, ROWS, table
from tests.faults.servers import Postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever asks for `repeat` runs FAULT_REPEATS times."""
    if "repeat" in metafunc.fixturenames:
        metafunc.parametrize("repeat", range(REPEATS))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """May be stopped and started; up again when a test ends."""
    folder: Path = tmp_path_factory.mktemp("faults")
    server = Postgres(folder)
    asyncio.run(_up(server))
    yield server
    asyncio.run(server.stop())


async def _up(server: Postgres) -> None:
    await server.start()
    await server.migrate()


@pytest.fixture
async def name(postgres: Postgres) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    async with postgres.database() as name:
        yield name


@pytest.fixture
def dsn(postgres: Postgres, name: str) -> str:
    """Straight to it."""
    return postgres.dsn(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS and "FAULT_REPEATS" in os.environ:
        terminalreporter.section("faults", sep="=")
        terminalreporter.write_line(f"{os.cpu_count()} cores, Python {platform.python_version()}, {REPEATS} repeats\n")
        terminalreporter.write_line(table(ROWS))
