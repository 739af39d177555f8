"""The seeds in this worker's hands: which lease, which dataset, which teacher, how many places they take."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from uuid import UUID

from app.logs import get_logger
from workers.shares import DatasetId

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A leased seed; `samples` of it are asked for."""

    token: UUID
    dataset: DatasetId
    teacher: str
    samples: int


class Hands:
    """Runs a task for each seed and counts, so that nobody has to walk over them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[asyncio.Task[None], Held] = {}
        self._by_teacher: Counter[str] = Counter()
        self._by_dataset: Counter[DatasetId] = Counter()

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, held: Held, work: Coroutine[None, None, None]) -> None:
        """Start working on a seed."""
        task = asyncio.create_task(work)
        self._tasks[task] = held
        self._by_teacher[held.teacher] += held.samples
        self._by_dataset[held.dataset] += held.samples
        task.add_done_callback(self._finished)

    def of_teacher(self, teacher: str) -> int:
        """Places taken at a teacher."""
        return self._by_teacher[teacher]

    def of_dataset(self, dataset: DatasetId) -> int:
        """Places taken by a dataset."""
        return self._by_dataset[dataset]

    def datasets(self) -> list[DatasetId]:
        """Those with seeds here."""
        return list(self._by_dataset)

    def tokens(self) -> set[UUID]:
        """The leases."""
        return {held.token for held in self._tasks.values()}

    async def drain(self, limit_s: float) -> None:
        """Let the tasks finish, up to `limit_s`; cancel what is left."""
        if self._tasks and limit_s:
            await asyncio.wait(list(self._tasks), timeout=limit_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, task: asyncio.Task[None]) -> None:
        held = self._tasks.pop(task)
        self._by_teacher[held.teacher] -= held.samples
        self._by_dataset[held.dataset] -= held.samples
        if not self._by_dataset[held.dataset]:
            del self._by_dataset[held.dataset]
        self._changed()
        if not task.cancelled() and task.exception() is not None:
            logger.error("seed_crashed", exc_info=task.exception())  # the worker's reconciling gives its seed back
