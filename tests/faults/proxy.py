"""TCP proxies that misbehave: silence, cuts, and for Postgres a COMMIT that is held or whose answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

CHUNK = 65536
SSL_REQUEST, GSS_REQUEST = (80877103).to_bytes(4), (80877104).to_bytes(4)
BROKEN = (asyncio.IncompleteReadError, ConnectionError, OSError)


@dataclass
class CommitTrap:
    """Springs at the COMMIT of a transaction that ran a statement in whose text `statement` is found, `times` times.

    `passes` True: the server gets the COMMIT, and the client loses the connection before the answer.
    `passes` False: the COMMIT gets no further than the proxy, until the proxy cuts the connection.
    """

    statement: re.Pattern[bytes]
    passes: bool
    times: int = 1
    sprung: asyncio.Event = field(default_factory=asyncio.Event)


class Link:
    """One client's connection and the one behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client, self.server = client, server
        self.passing = asyncio.Event()
        self.passing.set()
        self.answer_lost = False

    def cut(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """In front of 127.0.0.1:`target`. An async context manager; `port` is where it listens."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self.port = port
        self.links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent = False

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """As if the server were down: nobody listens, and the connections there were are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self.links):
            link.cut()

    def silence(self, *, new_ones_too: bool) -> None:
        """Stop passing bytes, without closing anything: a firewall that forgot, or a host that froze."""
        self._silent = new_ones_too
        for link in self.links:
            link.passing.clear()

    def resume(self) -> None:
        self._silent = False
        for link in self.links:
            link.passing.set()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            from_server, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client.transport.abort()
            return
        link = Link(client, server)
        if self._silent:
            link.passing.clear()
        self.links.add(link)
        pumps = [asyncio.create_task(self.up(link, reader)), asyncio.create_task(self.down(link, from_server))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.links.discard(link)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            link.cut()

    async def up(self, link: Link, reader: asyncio.StreamReader) -> None:
        """Client to server, until the client has no more to say."""
        with contextlib.suppress(*BROKEN):
            while chunk := await reader.read(CHUNK):
                await link.passing.wait()
                link.server.write(chunk)
                await link.server.drain()

    async def down(self, link: Link, reader: asyncio.StreamReader) -> None:
        """Server to client."""
        with contextlib.suppress(*BROKEN):
            while chunk := await reader.read(CHUNK):
                await link.passing.wait()
                if link.answer_lost:
                    return
                link.client.write(chunk)
                await link.client.drain()


class PostgresProxy(Proxy):
    """Reads the frontend protocol just enough to see a COMMIT, and what its transaction ran."""

    trap: CommitTrap | None = None
    commits_seen = 0

    async def up(self, link: Link, reader: asyncio.StreamReader) -> None:
        statements: dict[bytes, bytes] = {}
        ran: list[bytes] = []
        with contextlib.suppress(*BROKEN):
            async for kind, message, body in frontend(reader):
                await link.passing.wait()
                if kind == b"P":
                    name, query, _ = body.split(b"\0", 2)
                    statements[name] = query
                elif kind == b"B":
                    ran.append(statements.get(body.split(b"\0", 2)[1], b""))
                elif kind == b"Q":
                    if body.startswith(b"COMMIT"):
                        await self._commit(link, ran)
                    ran = [] if body.startswith((b"COMMIT", b"ROLLBACK")) else [*ran, body]
                link.server.write(message)
                await link.server.drain()

    async def _commit(self, link: Link, ran: list[bytes]) -> None:
        trap = self.trap
        if trap is None or trap.times <= 0 or not any(trap.statement.search(query) for query in ran):
            return
        trap.times -= 1
        self.commits_seen += 1
        link.answer_lost = trap.passes
        trap.sprung.set()
        if not trap.passes:
            await asyncio.Event().wait()  # until somebody cuts the connection


async def frontend(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes, bytes]]:
    """(kind, whole message, body) of each of the client's messages; start-up messages have no kind."""
    while True:
        head = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(head) - 4)
        yield b"", head + body, body
        if body[:4] not in (SSL_REQUEST, GSS_REQUEST):
            break
    while True:
        head = await reader.readexactly(5)
        body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
        yield head[:1], head + body, body
