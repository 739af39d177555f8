"""The worker: claim, run, store; bounded in flight; drained when asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import text

from app.database import Database
from app.datasets.recipe import Recipe
from app.datasets.repository import DatasetRepository
from app.logs import get_logger
from app.queue.repository import QueueRepository, RunnableDataset
from app.queue.states import LeasedSeed
from app.teachers.config import Teachers
from workers.calls import TeacherCalls
from workers.heartbeat import Heartbeat
from workers.pipeline import Job, run_seed
from workers.rescue import rescue_forever
from workers.stages.store import Store
from workers.statistics import analyze_as_it_grows

logger = get_logger(__name__)
POLL_S = 0.5
# Seeds are leased a little ahead of the teacher, so that a slot that comes free is filled at once.
AHEAD = 0.25


@dataclass(frozen=True, slots=True)
class Held:
    """A seed in this worker's hands."""

    token: UUID
    teacher: str
    samples: int


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
        self._database = database
        self._calls = {name: TeacherCalls(teacher, max_in_flight) for name, teacher in teachers.by_name.items()}
        self._max_in_flight = max_in_flight
        self._drain_s = drain_s
        self._seeds: dict[asyncio.Task[None], Held] = {}
        self._room = asyncio.Event()
        self._recipes: dict[tuple[int, int, int], Recipe] = {}
        self._unreadable: set[int] = set()
        self.store = Store(database, capacity=max_in_flight * 4)
        self._heartbeat = Heartbeat(
            database, self.worker_id, lease_s=lease_s, interval_s=heartbeat_s, in_flight=lambda: self.in_flight
        )
        self._rescue_s = lease_s / 3
        self._reconciled = time.monotonic()

    @property
    def in_flight(self) -> int:
        """Teacher calls under way."""
        return sum(calls.gate.in_flight for calls in self._calls.values())

    async def run(self) -> None:
        """Work until `stop` is set, then drain.

        Raises:
            RuntimeError: a part that must run for ever ended; the process should be started anew.
        """
        async with contextlib.AsyncExitStack() as stack:
            for calls in self._calls.values():
                await stack.enter_async_context(calls)
            ticking = asyncio.create_task(self._heartbeat.tick())
            background = [ticking]
            try:
                if await self._heartbeat.start(self.stop):
                    logger.info("worker_started", worker_id=str(self.worker_id), max_in_flight=self._max_in_flight)
                    rescuing = rescue_forever(self._database, self._heartbeat, self._rescue_s)
                    analyzing = analyze_as_it_grows(self._database, lambda: self.store.stored.attempts)
                    background += [asyncio.create_task(job) for job in (self.store.run(), rescuing, analyzing)]
                    await self._claim_until_stopped(background)
                    await self._drain()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await asyncio.to_thread(self._heartbeat.stop)
            await self._leave()

    async def _claim_until_stopped(self, background: list[asyncio.Task[None]]) -> None:
        while not self.stop.is_set():
            for task in background:
                if task.done():
                    msg = "a background task of the worker ended"
                    raise RuntimeError(msg) from task.exception()
            try:
                await self._reconcile()
                claimed = await self._claim() if self._has_room() else 0
            except Exception as exc:  # noqa: BLE001 -- the database is away: wait for it
                logger.warning("claim_failed", error=repr(exc)[:300])
                claimed = 0
            if not claimed:
                await self._wait_for_room()

    def _has_room(self) -> bool:
        return sum(held.samples for held in self._seeds.values()) < self._max_in_flight * (1 + AHEAD) * len(self._calls)

    async def _claim(self) -> int:
        """Lease what each teacher has room for, an equal share for each of its datasets that has seeds due."""
        async with self._database.begin() as connection:
            runnable = await QueueRepository(connection).runnable()
        claimed = 0
        for teacher, calls in self._calls.items():
            datasets = [dataset for dataset in runnable if dataset.teacher == teacher]
            started = sum(held.samples for held in self._seeds.values() if held.teacher == teacher)
            for position, dataset in enumerate(datasets):
                recipe = await self._usable_recipe(dataset)
                room = self._room_of(calls, started)
                if recipe is None or room <= 0 or self.stop.is_set():
                    continue
                share = -(-room // (len(datasets) - position))
                size = max(1, share // recipe.samples_per_seed)
                async with self._database.begin() as connection:
                    leased = await QueueRepository(connection).claim(dataset, self.worker_id, size)
                # Nothing may fail between the commit and the tasks' start; should it, `_reconcile` gives back.
                for seed in leased:
                    started += await self._start(dataset, seed)
                    claimed += 1
        return claimed

    def _room_of(self, calls: TeacherCalls, started: int) -> int:
        if calls.gate.troubled:
            return 0 if started else calls.gate.room()
        room = int(calls.gate.level + self._max_in_flight * AHEAD) - started
        # Many small claims cost more than one that fills several slots.
        return room if room >= max(1, int(calls.gate.level) // 8) else 0

    async def _usable_recipe(self, dataset: RunnableDataset) -> Recipe | None:
        """None for a recipe that this release cannot read: that dataset waits, and holds up no other."""
        try:
            return await self._recipe(dataset)
        except ValidationError as exc:
            if dataset.dataset_id not in self._unreadable:
                self._unreadable.add(dataset.dataset_id)
                logger.error("recipe_unreadable", dataset_id=dataset.dataset_id, error=str(exc)[:300])
            return None

    async def _recipe(self, dataset: RunnableDataset, revision: int | None = None) -> Recipe:
        key = (dataset.workspace_id, dataset.dataset_id, revision or dataset.recipe_revision)
        if key not in self._recipes:
            async with self._database.begin() as connection:
                body, _ = await DatasetRepository(connection).recipe(*key)
            self._recipes[key] = Recipe.model_validate(body)
        return self._recipes[key]

    async def _start(self, dataset: RunnableDataset, seed: LeasedSeed) -> int:
        recipe = await self._recipe(dataset, seed.recipe_revision)
        teacher = recipe.teacher or "default"
        samples = recipe.samples_per_seed if seed.open_samples is None else len(seed.open_samples)
        task = asyncio.create_task(run_seed(Job(seed, recipe, self._calls[teacher].generate, self.store.put)))
        self._seeds[task] = Held(seed.key.token, teacher, samples)
        task.add_done_callback(self._finished)
        return samples

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._seeds[task]
        self._room.set()
        if not task.cancelled() and task.exception() is not None:
            logger.error("seed_crashed", exc_info=task.exception())  # `_reconcile` gives its seed back

    async def _reconcile(self) -> None:
        """Now and then: give back what the database thinks is ours and we do not hold."""
        if time.monotonic() - self._reconciled < self._rescue_s:
            return
        self._reconciled = time.monotonic()
        held = {held.token for held in self._seeds.values()} | self.store.unwritten()
        async with self._database.begin() as connection:
            orphans = await QueueRepository(connection).release(self.worker_id, held)
        if orphans:
            logger.warning("orphans_released", count=orphans)

    async def _drain(self) -> None:
        """Let what is in flight finish, up to `drain_s`; the rest is given back by `_leave`."""
        tasks = list(self._seeds)
        logger.info("draining", seeds=len(tasks), in_flight=self.in_flight, limit_s=self._drain_s)
        if tasks and self._drain_s:
            await asyncio.wait(tasks, timeout=self._drain_s)
        for task in list(self._seeds):
            task.cancel()
        await asyncio.gather(*self._seeds, return_exceptions=True)
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

    async def _wait_for_room(self) -> None:
        """Until a seed is finished, the poll time has passed, or the worker is to stop."""
        self._room.clear()
        waits = [asyncio.ensure_future(self.stop.wait()), asyncio.ensure_future(self._room.wait())]
        idle = not self._seeds
        try:
            await asyncio.wait(waits[:1] if idle else waits, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
