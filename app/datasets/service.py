"""What can be done with a dataset."""

from __future__ import annotations

from app.database import Database
from app.datasets.recipe import Recipe
from app.datasets.repository import DatasetRepository, DatasetRow, Limits
from app.datasets.schemas import (
    Budget,
    ChangeDataset,
    CreateDataset,
    DatasetList,
    DatasetSummary,
    DatasetView,
    SeedCounts,
)
from app.datasets.spending import SpendingRepository
from app.datasets.view import show, show_budget, shown_state
from app.errors import Conflict, InvalidInput, NotFound
from app.queue.repository import QueueRepository
from app.teachers.config import Teachers
from app.teachers.repository import TeacherStatusRepository

DELETED_AT_ONCE = 2000


class DatasetService:
    """Each method is one transaction."""

    def __init__(self, database: Database, teachers: Teachers, workspace_id: int) -> None:
        self._database = database
        self._teachers = teachers
        self._workspace_id = workspace_id

    async def create(self, request: CreateDataset) -> DatasetView:
        """Make a dataset with the recipe's first revision.

        Raises:
            InvalidInput: the recipe names no known teacher.
            Conflict: the name is taken.
        """
        recipe = request.recipe.resolve(self._teachers.resolve(request.recipe.teacher))
        limits = _limits(request.weight, request.target_accepted, request.budget)
        async with self._database.begin() as connection:
            repository = DatasetRepository(connection)
            made = await repository.insert(self._workspace_id, request.name, limits)
            if made is None:
                msg = f"There is a dataset {request.name!r} already; choose another name, or delete that one."
                raise Conflict(msg)
            await repository.insert_recipe(self._workspace_id, made, 1, recipe.body(), recipe.hash())
            await SpendingRepository(connection).set_limits((self._workspace_id, made), limits)
        return await self.get(request.name)

    async def change(self, name: str, request: ChangeDataset) -> DatasetView:
        """Another weight, target or budget; what the request leaves out stays."""
        given = request.model_fields_set
        async with self._database.begin() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name, for_update=True)
            budget = show_budget(dataset)
            if "budget" in given and request.budget is None:
                budget = Budget()
            elif request.budget is not None:
                budget = budget.model_copy(update=request.budget.model_dump(include=request.budget.model_fields_set))
            limits = _limits(
                request.weight if "weight" in given else dataset.weight,
                request.target_accepted if "target_accepted" in given else dataset.target_accepted,
                budget,
            )
            await SpendingRepository(connection).set_limits((dataset.workspace_id, dataset.dataset_id), limits)
        return await self.get(name)

    async def change_recipe(self, name: str, recipe: Recipe) -> DatasetView:
        """A new revision, unless the recipe is the one that it has.

        Raises:
            InvalidInput: it names no known teacher. Conflict: the dataset is cancelled.
        """
        recipe = recipe.resolve(self._teachers.resolve(recipe.teacher))
        async with self._database.begin() as connection:
            repository = DatasetRepository(connection)
            dataset = await find_dataset(repository, self._workspace_id, name, for_update=True)
            if dataset.state == "cancelled":
                raise _cancelled(name)
            if dataset.recipe_hash != recipe.hash():
                revision = dataset.recipe_revision + 1
                key = dataset.workspace_id, dataset.dataset_id
                await repository.insert_recipe(*key, revision, recipe.body(), recipe.hash())
                await repository.set_recipe(dataset, revision)
                before = int(dataset.recipe["samples_per_seed"])
                await QueueRepository(connection).resize(*key, before, recipe.samples_per_seed)
        return await self.get(name)

    async def get(self, name: str) -> DatasetView:
        """The dataset with its whole funnel, all of one instant."""
        async with self._database.snapshot() as connection:
            repository = DatasetRepository(connection)
            dataset = await find_dataset(repository, self._workspace_id, name)
            seen = await TeacherStatusRepository(connection).seen(dataset.recipe["teacher"])
            return show(dataset, await repository.funnel(dataset), self._teachers, seen)

    async def list(self, cursor: str | None, size: int) -> DatasetList:
        """A page of datasets, oldest first."""
        after = parse_cursor(cursor)
        async with self._database.snapshot() as connection:
            rows = await DatasetRepository(connection).page(self._workspace_id, after, size)
        page = []
        for row in rows:
            seeds = SeedCounts.model_validate_json(row["seeds"])
            seeds.total = seeds.queued + seeds.leased + seeds.done + seeds.failed + seeds.cancelled
            state = shown_state(row["state"], seeds)
            page.append(
                DatasetSummary(
                    name=row["name"], state=state, recipe_hash=row["recipe_hash"], seeds=seeds, created_at=row["created_at"]
                )
            )
        return DatasetList(datasets=page, next_cursor=str(rows[-1]["dataset_id"]) if len(rows) == size else None)

    async def pause(self, name: str) -> DatasetView:
        """No new claims; workers hang up on the calls in flight within about a second."""
        return await self._move(name, "paused")

    async def resume(self, name: str) -> DatasetView:
        """Claims again.

        Raises:
            Conflict: it stands at its target or a budget; says which.
        """
        return await self._move(name, "running")

    async def cancel(self, name: str) -> DatasetView:
        """For good: what is queued or leased is cancelled, and answers still in flight change nothing."""
        await self._cancel(name)
        return await self.get(name)

    async def requeue(self, name: str, error_class: str | None) -> int:
        """Failed seeds back into the queue; returns how many."""
        async with self._database.begin() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name)
            if dataset.state == "cancelled":
                msg = f"Dataset {name!r} is cancelled, which is for good; its seeds cannot be queued again."
                raise Conflict(msg)
            return await QueueRepository(connection).requeue(dataset.workspace_id, dataset.dataset_id, error_class)

    async def delete(self, name: str) -> None:
        """The dataset, its seeds, attempts and samples.

        Cancelled first, so that workers with answers in flight find their leases gone; then emptied in short
        transactions, which hold up nobody. Interrupted, it leaves a cancelled dataset that can be deleted again.
        """
        await self._cancel(name)
        while True:
            async with self._database.begin() as connection:
                repository = DatasetRepository(connection)
                dataset = await find_dataset(repository, self._workspace_id, name)
                if await repository.delete_some(dataset, DELETED_AT_ONCE) < DELETED_AT_ONCE:
                    await repository.delete(dataset)
                    return

    async def _cancel(self, name: str) -> None:
        async with self._database.begin() as connection:
            repository = DatasetRepository(connection)
            dataset = await find_dataset(repository, self._workspace_id, name)
            await repository.set_state(dataset, "cancelled")
            await QueueRepository(connection).cancel(dataset.workspace_id, dataset.dataset_id)

    async def _move(self, name: str, state: str) -> DatasetView:
        async with self._database.begin() as connection:
            repository = DatasetRepository(connection)
            dataset = await find_dataset(repository, self._workspace_id, name)
            if not await repository.set_state(dataset, state):
                raise _cancelled(name)
            spending = SpendingRepository(connection)
            if state == "running" and (words := await spending.why_reached((dataset.workspace_id, dataset.dataset_id))):
                msg = f"Dataset {name!r} would pause again at once ({words}): raise that limit first (PATCH)."
                raise Conflict(msg)
        return await self.get(name)


def _cancelled(name: str) -> Conflict:
    return Conflict(f"Dataset {name!r} is cancelled, which is for good; make a new one.")


def _limits(weight: float, target_accepted: int | None, budget: Budget) -> Limits:
    return Limits(weight, target_accepted, budget.attempts, budget.tokens, budget.wall_s)


async def find_dataset(repository: DatasetRepository, workspace_id: int, name: str, *, for_update: bool = False) -> DatasetRow:
    """The dataset of that name, locked if it is to be changed.

    Raises:
        NotFound: there is none.
    """
    dataset = None if "\0" in name else await repository.find(workspace_id, name, for_update=for_update)
    if dataset is None:
        msg = f"There is no dataset {name!r} here."
        raise NotFound(msg)
    return dataset


def parse_cursor(cursor: str | None) -> int:
    """The id to go on after.

    Raises:
        InvalidInput: not a cursor that an earlier page gave.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):  # noqa: PLR2004 -- a bigint's digits
        msg = "`cursor` must be the `next_cursor` of an earlier page."
        raise InvalidInput(msg)
    return int(cursor)
