"""The worker: claim, run, store; bounded in flight; drained when asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.database import Database
from app.logs import get_logger
from app.queue.repository import QueueRepository, RunnableDataset
from app.queue.states import LeasedSeed
from app.teachers.config import Teachers
from workers.claiming import Claiming
from workers.heartbeat import Heartbeat
from workers.held import Hands, Held
from workers.limits import pause_at_limits
from workers.pipeline import Job, run_seed
from workers.recall import recall_stopped
from workers.recipes import Recipes
from workers.rescue import rescue_forever
from workers.stages.store import Store
from workers.statistics import analyze_as_it_grows
from workers.teacher.pool import TeacherPool

logger = get_logger(__name__)
POLL_S = 0.5
STOPPING_S = 15.0


class Worker:
    """One process's worker. `run` returns once `stop` was set and everything is stored or given back."""

    def __init__(
        self,
        database: Database,
        teachers: Teachers,
        *,
        max_in_flight: int,
        lease_s: float,
        heartbeat_s: float,
        drain_s: float,
    ) -> None:
        self.worker_id: UUID = uuid.uuid4()
        self.stop = asyncio.Event()
        self.pools = {
            name: TeacherPool(teacher, max_in_flight, self._look_for_room) for name, teacher in teachers.by_name.items()
        }
        self._database = database
        self._max_in_flight = max_in_flight
        self._drain_s = drain_s
        self._room = asyncio.Event()
        self._hands = Hands(self._look_for_room)
        self._recipes = Recipes(database)
        self.store = Store(database, capacity=max_in_flight * 4)
        self._claiming = Claiming(database, self.worker_id, self.pools, self._hands, self._recipes, self.store.backlog)
        self._heartbeat = Heartbeat(
            database,
            self.worker_id,
            lease_s=lease_s,
            interval_s=heartbeat_s,
            in_flight=lambda: self.in_flight,
            status=self.status,
        )
        self._rescue_s = lease_s / 3
        self._reconciled = time.monotonic()

    @property
    def in_flight(self) -> int:
        """Teacher calls under way."""
        return sum(pool.in_flight for pool in self.pools.values())

    def status(self) -> dict[str, Any]:
        """What the heartbeat tells of this worker (JSON)."""
        return {
            "teachers": {name: pool.status() for name, pool in self.pools.items()},
            "stored": dict(vars(self.store.stored)),
        }

    async def run(self) -> None:
        """Work until `stop` is set, then drain.

        Raises:
            RuntimeError: a part that must run for ever ended; the process should be started anew.
        """
        async with contextlib.AsyncExitStack() as stack:
            for pool in self.pools.values():
                await stack.enter_async_context(pool)
            background = [asyncio.create_task(self._heartbeat.tick())]
            try:
                if await self._heartbeat.start(self.stop):
                    logger.info("worker_started", worker_id=str(self.worker_id), max_in_flight=self._max_in_flight)
                    background += [asyncio.create_task(duty) for duty in self._duties()]
                    await self._claim_until_stopped(background)
                    await self._drain()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.wait(background, timeout=STOPPING_S)
                await asyncio.to_thread(self._heartbeat.stop)
            await self._leave()

    def _duties(self) -> list[Any]:
        return [
            self.store.run(),
            rescue_forever(self._database, self._heartbeat, self._rescue_s),
            pause_at_limits(self._database),
            recall_stopped(self._database, self._hands, self.pools.values()),
            analyze_as_it_grows(self._database, lambda: self.store.stored.attempts),
        ]

    async def _claim_until_stopped(self, background: list[asyncio.Task[None]]) -> None:
        while not self.stop.is_set():
            for task in background:
                if task.done():
                    msg = "a background task of the worker ended"
                    raise RuntimeError(msg) from task.exception()
            claimed = False
            try:
                await self._reconcile()
                # Nothing may fail between the claim's commit and the tasks' start; should it, `_reconcile` gives back.
                for dataset, seed in await self._claiming.next():
                    claimed = True
                    await self._start(dataset, seed)
            except Exception as exc:  # noqa: BLE001 -- the database is away: wait for it
                logger.warning("claim_failed", error=repr(exc)[:300])
            if not claimed:
                self._room.clear()
                await self._wait_for_room()

    async def _start(self, dataset: RunnableDataset, seed: LeasedSeed) -> None:
        recipe = await self._recipes.get(dataset.workspace_id, dataset.dataset_id, seed.recipe_revision)
        teacher = recipe.teacher or "default"
        if teacher not in self.pools:  # the recipe changed since we looked; `_reconcile` gives the seed back
            logger.warning("teacher_unknown_here", teacher=teacher, dataset_id=dataset.dataset_id)
            return
        key = (dataset.workspace_id, dataset.dataset_id)
        generate = partial(self.pools[teacher].generate, group=key, affinity=seed.key.seed_id)
        samples = recipe.samples_per_seed if seed.open_samples is None else len(seed.open_samples)
        self._hands.take(Held(seed.key.token, key, teacher, samples), run_seed(Job(seed, recipe, generate, self.store.put)))

    async def _reconcile(self) -> None:
        """Now and then: give back what the database thinks is ours and we do not hold."""
        if time.monotonic() - self._reconciled < self._rescue_s:
            return
        self._reconciled = time.monotonic()
        held = self._hands.tokens() | self.store.unwritten()
        async with self._database.begin() as connection:
            orphans = await QueueRepository(connection).release(self.worker_id, held)
        if orphans:
            logger.warning("orphans_released", count=orphans)

    async def _drain(self) -> None:
        """Let what is in flight finish, up to `drain_s`; the rest is given back by `_leave`."""
        logger.info("draining", seeds=len(self._hands), in_flight=self.in_flight, limit_s=self._drain_s)
        for pool in self.pools.values():
            pool.recall_waiting()  # what the teacher does not have yet is not asked of it any more
        await self._hands.drain(self._drain_s)
        try:
            await asyncio.wait_for(self.store.flush(), timeout=max(self._drain_s, 10.0))
        except TimeoutError:
            logger.error(
                "drain_left_unstored", error="the database did not come back in time; these seeds will be generated again"
            )

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(10), self._database.begin() as connection:
                released = await QueueRepository(connection).release(self.worker_id)
                await connection.execute(text("DELETE FROM workers WHERE worker_id = :id"), {"id": self.worker_id})
        except Exception as exc:  # noqa: BLE001 -- rescue will do it when the lease time is over
            logger.warning("release_failed", error=repr(exc)[:300])
        else:
            logger.info("worker_stopped", released=released, **vars(self.store.stored))

    def _look_for_room(self) -> None:
        """A seed was finished, or a teacher takes more calls than before."""
        if not self._room.is_set() and self._claiming.rooms():
            self._room.set()

    async def _wait_for_room(self) -> None:
        """Until there is room for a claim, the poll time has passed, or the worker is to stop."""
        waits = [asyncio.ensure_future(self.stop.wait()), asyncio.ensure_future(self._room.wait())]
        try:
            await asyncio.wait(waits, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
