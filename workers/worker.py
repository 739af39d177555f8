"""The worker: claim, run, store; bounded in flight; drained when asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
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
from workers.heartbeat import Heartbeat
from workers.pipeline import Job, run_seed
from workers.rescue import rescue_forever
from workers.stages.store import Store
from workers.teacher.client import TeacherClient
from workers.teacher.errors import SeedRefused, TeacherError, TeacherFault
from workers.teacher.gate import Gate
from workers.teacher.types import ChatRequest, Reply

logger = get_logger(__name__)
POLL_S = 0.5
# Seeds are leased a little ahead of the teacher, so that a slot that comes free is filled at once.
AHEAD = 1.25


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
        self._teachers = teachers
        self._max_in_flight = max_in_flight
        self._drain_s = drain_s
        self._slots = asyncio.Semaphore(max_in_flight)
        self._in_flight = 0
        self._seeds: dict[asyncio.Task[None], int] = {}
        self._room = asyncio.Event()
        self._clients: dict[str, TeacherClient] = {}
        self._gates: dict[str, Gate] = {}
        self._recipes: dict[tuple[int, int, int], Recipe] = {}
        self._unreadable: set[int] = set()
        self.store = Store(database, capacity=max_in_flight * 4)
        self._heartbeat = Heartbeat(
            database, self.worker_id, lease_s=lease_s, interval_s=heartbeat_s, in_flight=lambda: self._in_flight
        )
        self._rescue_s = lease_s / 3

    async def run(self) -> None:
        """Work until `stop` is set, then drain."""
        async with contextlib.AsyncExitStack() as stack:
            for name, teacher in self._teachers.by_name.items():
                self._clients[name] = await stack.enter_async_context(TeacherClient(teacher))
                self._gates[name] = Gate(time.monotonic)
            await self._heartbeat.start()
            logger.info("worker_started", worker_id=str(self.worker_id), max_in_flight=self._max_in_flight)
            background = [
                asyncio.create_task(job)
                for job in (self.store.run(), self._heartbeat.tick(), rescue_forever(self._database, self._rescue_s))
            ]
            try:
                await self._claim_until_stopped()
                await self._drain()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                self._heartbeat.stop()
            await self._leave()

    async def _claim_until_stopped(self) -> None:
        while not self.stop.is_set():
            room = int(self._max_in_flight * AHEAD) - sum(self._seeds.values())
            if room < max(1, self._max_in_flight // 8):
                await self._wait(self._room, POLL_S)
                self._room.clear()
                continue
            try:
                claimed = await self._claim(room)
            except Exception as exc:  # noqa: BLE001 -- the database is away: wait for it
                logger.warning("claim_failed", error=repr(exc)[:300])
                claimed = 0
            if not claimed:
                await self._wait(self.stop, POLL_S)

    async def _claim(self, room: int) -> int:
        """Lease up to `room` samples' worth of seeds, an equal share for each dataset that has some."""
        async with self._database.begin() as connection:
            datasets = [d for d in await QueueRepository(connection).runnable() if d.teacher in self._clients]
        claimed = 0
        for position, dataset in enumerate(datasets):
            if room <= 0 or self.stop.is_set():
                break
            recipe = await self._usable_recipe(dataset)
            if recipe is None:
                continue
            share = -(-room // (len(datasets) - position))
            seeds = max(1, share // recipe.samples_per_seed)
            allowed = self._gates[dataset.teacher].allowance(seeds, sum(self._seeds.values()))
            if not allowed:
                continue
            async with self._database.begin() as connection:
                leased = await QueueRepository(connection).claim(dataset, self.worker_id, allowed)
            for seed in leased:
                room -= await self._start(dataset, seed)
                claimed += 1
        return claimed

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

        async def generate(request: ChatRequest) -> Reply:
            return await self._generate(recipe.teacher or "default", request)

        task = asyncio.create_task(run_seed(Job(seed, recipe, generate, self.store.put)))
        samples = recipe.samples_per_seed if seed.open_samples is None else len(seed.open_samples)
        self._seeds[task] = samples
        task.add_done_callback(self._finished)
        return samples

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._seeds[task]
        self._room.set()
        if not task.cancelled() and task.exception() is not None:
            # Not foreseen: the lease stays until this worker leaves or dies, and is then taken back.
            logger.error("seed_crashed", exc_info=task.exception())

    async def _generate(self, teacher: str, request: ChatRequest) -> Reply:
        gate = self._gates[teacher]
        async with self._slots:
            self._in_flight += 1
            try:
                reply = await self._clients[teacher].generate(request)
            except TeacherFault as exc:
                pause_s = gate.failed()
                if pause_s is not None:
                    words = exc.message[:300]
                    logger.warning(
                        "teacher_fault", teacher=teacher, error_class=exc.error_class, error=words, pause_s=round(pause_s, 1)
                    )
                raise
            except SeedRefused:
                gate.succeeded()
                raise
            except TeacherError as exc:
                logger.info("attempt_failed", teacher=teacher, error_class=exc.error_class, error=exc.message[:300])
                raise
            else:
                gate.succeeded()
                return reply
            finally:
                self._in_flight -= 1

    async def _drain(self) -> None:
        """Let what is in flight finish, up to `drain_s`; the rest is given back by `_leave`."""
        tasks = list(self._seeds)
        logger.info("draining", seeds=len(tasks), in_flight=self._in_flight, limit_s=self._drain_s)
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
            async with self._database.begin() as connection:
                released = await QueueRepository(connection).release(self.worker_id)
                await connection.execute(text("DELETE FROM workers WHERE worker_id = :id"), {"id": self.worker_id})
        except Exception as exc:  # noqa: BLE001 -- rescue will do it when the lease time is over
            logger.warning("release_failed", error=repr(exc)[:300])
        else:
            logger.info("worker_stopped", released=released, **vars(self.store.stored))

    @staticmethod
    async def _wait(event: asyncio.Event, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), timeout_s)
