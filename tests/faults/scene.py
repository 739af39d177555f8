"""One case's stage: a database, the API, a simulated teacher, worker processes; watched while it runs, judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from app.database import Database
from bench.simulated_vllm import Behaviour, Simulated, running
from tests.faults.oracle import Finding, judge
from tests.faults.report import ROWS, Row
from tests.faults.watch import Watch
from tests.support.processes import process, simulated_env, worker_env
from tests.support.stack import Client, serving, teachers_of

PATIENCE_S = 30.0
LEASE_S = 1.5
HELD = "SELECT seed_id FROM leases WHERE state = 'leased' AND worker_id = (SELECT worker_id FROM workers WHERE name LIKE '%:' || $1)"
STORED = "SELECT count(*) FROM samples WHERE $1::bigint[] IS NULL OR seed_id = ANY ($1)"


@dataclass
class Scene:
    """`dsn` goes straight to the server, whatever stands between it and the workers."""

    dsn: str
    client: Client
    teacher: Simulated
    watch: Watch
    pushed: list[str] = field(default_factory=list)
    samples_per_seed: int = 1
    explained: int = 0
    _recovery: asyncio.Task[float] | None = None
    _children: list[asyncio.subprocess.Process] = field(default_factory=list)

    @asynccontextmanager
    async def worker(
        self, *, module: tuple[str, ...] = ("workers",), dsn: str | None = None, teachers: Path | None = None, **env: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker process; returns once it has beaten. Continued before it is ended, if a test had stopped it."""
        settings = worker_env(
            dsn or self.dsn,
            simulated_env(self.teacher.url) if teachers is None else {"LIMBECK_TEACHERS_FILE": str(teachers)},
            **{"LIMBECK_LEASE_S": str(LEASE_S), "LIMBECK_HEARTBEAT_S": "0.3", "LIMBECK_LOG_LEVEL": "warning", **env},
        )
        async with process(*module, **settings) as child:
            self._children.append(child)
            try:
                await self.wait_for("SELECT count(*) FROM workers WHERE name LIKE '%:' || $1", str(child.pid))
                yield child
            finally:
                if child.returncode is None:
                    child.send_signal(signal.SIGCONT)

    async def push(self, count: int) -> None:
        """That many seeds more, acknowledged."""
        texts = [f"Say something of number {number}." for number in range(len(self.pushed), len(self.pushed) + count)]
        await self.client.push("d", [{"instruction": text} for text in texts])
        self.pushed += texts
        self.watch.total = len(self.pushed)

    async def push_persistently(self, count: int) -> None:
        """As `push`, tried until it is acknowledged; a repeat that had been stored counts as duplicates."""
        while True:
            try:
                return await self.push(count)
            except AssertionError as exc:
                if "The database does not answer now" not in str(exc):
                    raise
                await asyncio.sleep(0.05)

    async def stalled(self, seconds: float) -> None:
        """Nothing has become done for that long."""
        seen, since = -1, time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while time.monotonic() - since < seconds:
                self.watch.check()
                if self.watch.seeds("done") != seen:
                    seen, since = self.watch.seeds("done"), time.monotonic()
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)

    async def wait_for(self, query: str, *arguments: Any, patience_s: float = PATIENCE_S) -> None:
        """Until the query's first value is true, also through an outage of the database."""
        async with asyncio.timeout(patience_s):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    async with self.connection() as connection:
                        while not await connection.fetchval(query, *arguments):
                            await asyncio.sleep(0.02)
                        return
                await asyncio.sleep(0.05)

    async def until(self, reached: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Poll a condition of the teacher's or of the watch's; a watch that has found something ends the wait."""
        async with asyncio.timeout(patience_s):
            while not reached():
                self.watch.check()
                await asyncio.sleep(0.01)

    async def done(self, count: int) -> None:
        """At least that many seeds are done, as REST tells it."""
        await self.until(lambda: self.watch.seeds("done") >= count)

    async def kill(self, child: asyncio.subprocess.Process) -> list[int]:
        """SIGKILL. What the worker still holds bounds what it had in flight; returns those seeds."""
        self._children.remove(child)
        child.kill()
        await child.wait()
        held = await self.held_by(child)
        self.explained += len(held) * self.samples_per_seed
        return held

    async def end(self, child: asyncio.subprocess.Process) -> None:
        """SIGTERM; the worker must end with status 0. What it gives back may have been served to nobody."""
        self._children.remove(child)
        held = await self.held_by(child)
        self.explained += len(held) * self.samples_per_seed
        child.terminate()
        assert await asyncio.wait_for(child.wait(), PATIENCE_S) == 0

    async def held_by(self, child: asyncio.subprocess.Process) -> list[int]:
        async with self.connection() as connection:
            return [row[0] for row in await connection.fetch(HELD, str(child.pid))]

    async def fault_ended(
        self, seeds: Collection[int] | None = None, *, since: float | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """From here on, or since then, the recovery is timed: to the next stored sample, of these seeds if any are named."""
        ended = since or time.monotonic()
        chosen = None if seeds is None else list(seeds)
        async with self.connection() as connection:
            before = await connection.fetchval(STORED, chosen)

        async def measure() -> float:
            await self.wait_for(f"SELECT ({STORED}) > $2", chosen, before, patience_s=patience_s)
            return time.monotonic() - ended

        self._recovery = asyncio.create_task(measure())

    async def recovered(self) -> None:
        """Once something is stored after `fault_ended`."""
        assert self._recovery is not None
        await asyncio.wait_for(asyncio.shield(self._recovery), PATIENCE_S)

    async def leave(self) -> None:
        """SIGTERM to the workers that there are; each must end with status 0."""
        for child in self._children:
            if child.returncode is None:
                child.terminate()
        for child in self._children:
            assert await asyncio.wait_for(child.wait(), PATIENCE_S) == 0, "a worker ended that nobody had killed"
        self._children.clear()

    async def verdict(self, case: str, *, patience_s: float = 45.0, blamed: Collection[str] = ()) -> Finding:
        """Wait for the dust to settle, which takes that every worker has stored what it had and gone, and judge."""
        await self.watch.settled(patience_s)
        recovery_s = None if self._recovery is None else await asyncio.wait_for(self._recovery, 5)
        await self.leave()
        assert self.watch.polls > 0
        async with self.connection() as connection:
            finding = await judge(
                connection,
                "d",
                self.pushed,
                self.teacher.stats,
                samples_per_seed=self.samples_per_seed,
                blamed=blamed,
                explained=self.explained,
            )
        lines = await self.client.export()
        assert len(lines) == len({(line["instruction"], line["output"]) for line in lines})
        ROWS.append(Row(case, finding, recovery_s))
        return finding


@asynccontextmanager
async def staged(dsn: str, behaviour: Behaviour, *, seeds: int, **recipe: Any) -> AsyncIterator[Scene]:
    """Dataset `d` with that many seeds queued, the API over it, and the funnel watched from now on."""
    database = Database(dsn)
    async with running(behaviour) as teacher, serving(database, teachers_of(teacher)) as client:
        await client.create("d", **recipe)
        # A limit that nothing reaches: what counts against it is judged, too.
        assert (await client.http.patch("/v1/datasets/d", json={"target_accepted": 1_000_000})).status_code == 200
        async with Watch.over(client) as watch:
            scene = Scene(dsn, client, teacher, watch, samples_per_seed=recipe.get("samples_per_seed", 1))
            await scene.push(seeds)
            try:
                yield scene
            finally:
                if scene._recovery is not None:
                    scene._recovery.cancel()
    await database.close()


def stop(child: asyncio.subprocess.Process) -> None:
    """SIGSTOP; returns once the whole process stands still."""
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
