"""Leasing seeds a little ahead of each teacher, shared fairly among the datasets that have some due."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from uuid import UUID

from app.database import Database
from app.queue.repository import QueueRepository, RunnableDataset
from app.queue.states import LeasedSeed
from workers.held import Hands
from workers.recipes import Recipes
from workers.shares import Claimant, DatasetId, share
from workers.teacher.pool import TeacherPool

# Seeds are leased so far ahead of the teacher's level, so that a place that comes free is filled at once.
AHEAD = 0.5
# Many small claims cost more than one that fills several places.
WORTH_A_CLAIM = 0.25
LARGEST_CLAIM = 500
RUNNABLE_FOR_S = 0.5


class Claiming:
    """One worker's claims. `claim` leases; what it returns must be worked on or given back."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        pools: Mapping[str, TeacherPool],
        hands: Hands,
        recipes: Recipes,
        unwritten: Callable[[DatasetId], int],
    ) -> None:
        """`unwritten` tells how many of a dataset's completions wait to be stored."""
        self._database = database
        self._worker_id = worker_id
        self._pools = pools
        self._hands = hands
        self._recipes = recipes
        self._unwritten = unwritten
        self._runnable: list[RunnableDataset] = []
        self._wanted: dict[DatasetId, int] = {}
        self._looked_at = float("-inf")
        self._turn = 0

    async def next(self) -> list[tuple[RunnableDataset, LeasedSeed]]:
        """Claim for the dataset that is owed most places; empty when there is no room or nothing is due."""
        rooms = self.rooms()
        if not rooms:
            return []
        if time.monotonic() - self._looked_at > RUNNABLE_FOR_S:
            await self._look()
        for teacher, room in rooms.items():
            due = [dataset for dataset in self._runnable if dataset.teacher == teacher and self._wants(dataset) > 0]
            self._turn += 1
            due = due[self._turn % len(due) :] + due[: self._turn % len(due)] if due else []
            claimants = [Claimant(_key(d), d.weight, self._hands.of_dataset(_key(d))) for d in due]
            shares = share(room, claimants)
            for dataset in sorted(due, key=lambda d: -shares.get(_key(d), 0)):
                if _key(dataset) in shares and (leased := await self._claim(dataset, shares[_key(dataset)])):
                    return [(dataset, seed) for seed in leased]
        return []

    def rooms(self) -> dict[str, int]:
        """Places that are worth a claim now, by teacher."""
        return {teacher: room for teacher, pool in self._pools.items() if (room := self._room_of(teacher, pool)) > 0}

    async def _look(self) -> None:
        async with self._database.begin() as connection:
            self._runnable = await QueueRepository(connection).runnable()
        self._looked_at = time.monotonic()
        # What is held, or not yet written, is not yet counted against a limit; nor is what is claimed until the next look.
        self._wanted = {
            _key(d): d.left - self._hands.of_dataset(_key(d)) - self._unwritten(_key(d))
            for d in self._runnable
            if d.left is not None
        }

    async def _claim(self, dataset: RunnableDataset, places: int) -> list[LeasedSeed]:
        recipe = await self._recipes.usable(dataset.workspace_id, dataset.dataset_id, dataset.recipe_revision)
        if recipe is None:
            self._runnable.remove(dataset)
            return []
        size = max(1, int(min(LARGEST_CLAIM, places, self._wants(dataset)) // recipe.samples_per_seed))
        async with self._database.begin() as connection:
            leased = await QueueRepository(connection).claim(dataset, self._worker_id, size)
        if dataset.left is not None:
            self._wanted[_key(dataset)] -= len(leased) * recipe.samples_per_seed
        if len(leased) < size:  # for now it has no more
            self._runnable.remove(dataset)
        return leased

    def _wants(self, dataset: RunnableDataset) -> float:
        """How many more calls its target and budget leave."""
        return self._wanted.get(_key(dataset), float("inf"))

    def _room_of(self, teacher: str, pool: TeacherPool) -> int:
        held = self._hands.of_teacher(teacher)
        if pool.troubled:
            return 0 if held else pool.room()
        level = pool.level
        room = level + max(1, int(level * AHEAD)) - held
        return room if room >= max(1, int(level * WORTH_A_CLAIM)) else 0


def _key(dataset: RunnableDataset) -> DatasetId:
    return dataset.workspace_id, dataset.dataset_id
