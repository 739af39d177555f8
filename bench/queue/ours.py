"""The same work through our code: QueueRepository.claim, and Store.write with all that it stores."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import workers.stages.store as store_module
from app.database import Database
from app.queue.repository import QueueRepository, RunnableDataset
from app.queue.states import LeasedSeed, LeaseUpdate
from bench.queue.data import Answer
from workers.completion import AttemptRecord, Completion
from workers.stages.records import SampleKey, name_of
from workers.stages.store import Store

DONE = LeaseUpdate("done", ())


@dataclass
class Rates:
    """Rows a second: both steps together, and what each would do alone on all its connections."""

    both: float
    claim: float
    complete: float
    rows: int


async def drain(
    dsn: str, dataset: RunnableDataset, connections: int, batch: int, answers: Sequence[Answer], *, rows: int | None = None
) -> Rates:
    """Claim, store and complete until the dataset is empty, or until so many rows are done."""
    database = Database(dsn, pool_size=connections, lookups=True)
    store = Store(database, capacity=batch * connections)
    left = [rows or 10**12]
    spent = {"claim": 0.0, "complete": 0.0}
    done = 0

    async def work() -> None:
        nonlocal done
        worker_id = uuid4()
        while left[0] > 0:
            left[0] -= batch
            began = time.perf_counter()
            async with database.begin() as connection:
                seeds = await QueueRepository(connection).claim(dataset, worker_id, batch)
            claimed = time.perf_counter()
            if not seeds:
                return
            await store.write([_completion(seed, answers) for seed in seeds])
            spent["claim"] += claimed - began
            spent["complete"] += time.perf_counter() - claimed
            done += len(seeds)

    async with AsyncExitStack() as stack:  # as bare SQL's pool, all connections are there before the clock starts
        for _ in range(connections):
            await stack.enter_async_context(database.begin())
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    took = time.perf_counter() - began
    await check_stored(database, dataset, done)
    await database.close()
    return Rates(done / took, done * connections / spent["claim"], done * connections / spent["complete"], done)


def _completion(seed: LeasedSeed, answers: Sequence[Answer]) -> Completion:
    answer = answers[seed.key.seed_id % len(answers)]
    return Completion(seed.key, seed.recipe_revision, 0, answer.attempt, answer.sample, DONE)


@contextmanager
def without_attempts() -> Iterator[None]:
    """Leave the attempts' rows out, to see what they cost; nothing else of Store.write changes."""

    async def nothing(_: AsyncConnection, pairs: Sequence[tuple[Completion, AttemptRecord]]) -> set[SampleKey]:
        return {name_of(completion) for completion, _ in pairs}

    with patch.object(store_module, "insert_attempts", nothing):
        yield


async def check_stored(database: Database, dataset: RunnableDataset, done: int) -> None:
    """What was counted is stored: as many finished seeds as accepted samples, at least."""
    async with database.begin() as connection:
        for table, condition in (("leases", "state = 'done'"), ("samples", "verdict = 'accepted'")):
            count = text(f"SELECT count(*) FROM {table} WHERE workspace_id = 1 AND dataset_id = :dataset AND {condition}")  # noqa: S608
            stored = (await connection.execute(count, {"dataset": dataset.dataset_id})).scalar_one()
            assert stored >= done, (table, stored, done)
