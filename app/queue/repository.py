"""The queue's statements: enqueue, claim, heartbeat, finish, release, rescue. The database's clock only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from app.queue.statements import (
    CANCEL,
    CLAIM,
    FORGET_WORKERS,
    LOCK_CURRENT,
    LOCK_LIVE,
    RELEASE,
    REQUEUE,
    RESCUE,
    RESIZE,
    RUNNABLE,
    STOPPED,
    UPDATE,
)
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseKey, LeaseUpdate


@dataclass(frozen=True, slots=True)
class RunnableDataset:
    """A running dataset with seeds that are due. `left` calls at most are still wanted; None: no limit."""

    workspace_id: int
    dataset_id: int
    recipe_revision: int
    teacher: str
    weight: float = 1.0
    left: int | None = None


class QueueRepository:
    """The queue, on one connection; the caller owns the transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def runnable(self) -> list[RunnableDataset]:
        """Datasets that have something to claim now."""
        return [RunnableDataset(*row) for row in await RUNNABLE.rows(self._connection)]

    async def claim(self, dataset: RunnableDataset, worker_id: UUID, size: int) -> list[LeasedSeed]:
        """Lease up to `size` due seeds, oldest first. Empty if there are none or the dataset stopped running."""
        rows = await CLAIM.rows(
            self._connection,
            workspace_id=dataset.workspace_id,
            dataset_id=dataset.dataset_id,
            worker_id=worker_id,
            size=size,
        )
        leased = [
            LeasedSeed(
                key=LeaseKey(dataset.workspace_id, dataset.dataset_id, seed_id, token),
                recipe_revision=revision,
                instruction=instruction,
                input=input_,
                reference=reference,
                metadata=orjson.loads(metadata) if metadata else {},
                tries=tries,
                setbacks=setbacks,
                open_samples=None if open_samples is None else tuple(open_samples),
            )
            for seed_id, token, tries, setbacks, open_samples, instruction, input_, reference, metadata, revision in rows
        ]
        # Seeds that were sent together, and may share a prefix, stay together.
        return sorted(leased, key=lambda seed: seed.key.seed_id)

    async def stopped(self, datasets: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bool]:
        """Those of the (workspace, dataset) pairs that do not run, and whether the calls that their teacher has are still wanted."""
        columns = {"workspaces": [pair[0] for pair in datasets], "datasets": [pair[1] for pair in datasets]}
        rows = await self._connection.execute(STOPPED, columns)
        return {(row.workspace_id, row.dataset_id): row.paid_for for row in rows}

    async def lock_current(self, keys: Iterable[LeaseKey]) -> set[LeaseKey]:
        """Those of the leases that are still held, locked until the transaction ends."""
        rows = await LOCK_CURRENT.rows(self._connection, **_columns(sorted(set(keys), key=_order)))
        return {LeaseKey(*row) for row in rows}

    async def settle(self, updates: Mapping[LeaseKey, LeaseUpdate]) -> set[UUID]:
        """Apply the updates whose tokens are current and return those; the rows are locked until the transaction ends."""
        if not updates:
            return set()
        kinds: dict[tuple[int, int, LeaseUpdate], int] = {}
        keys = sorted(updates, key=_order)
        numbers = [kinds.setdefault((key.workspace_id, key.dataset_id, updates[key]), len(kinds) + 1) for key in keys]
        values = [value for _, _, value in kinds]
        rows = await UPDATE.rows(
            self._connection,
            seeds=[key.seed_id for key in keys],
            tokens=[key.token for key in keys],
            kinds=numbers,
            workspaces=[workspace_id for workspace_id, _, _ in kinds],
            datasets=[dataset_id for _, dataset_id, _ in kinds],
            states=[value.state for value in values],
            open_samples=[None if value.open_samples is None else ",".join(map(str, value.open_samples)) for value in values],
            delays=[value.delay_s for value in values],
            charged=[value.charged for value in values],
            setbacks=[value.setback for value in values],
            error_classes=[value.error_class for value in values],
            error_texts=[value.error_text for value in values],
        )
        return {row[0] for row in rows}

    async def update(self, updates: Mapping[LeaseKey, LeaseUpdate]) -> int:
        """Apply the updates whose tokens are current; returns how many were."""
        return len(await self.settle(updates))

    async def release(self, worker_id: UUID, held: Collection[UUID] = ()) -> int:
        """Give back, uncharged, what is leased to a worker but not among the tokens that it holds; returns how many."""
        return (await self._connection.execute(RELEASE, {"worker_id": worker_id, "held": list(held)})).rowcount

    async def rescue(self) -> tuple[int, int]:
        """Take the seeds of dead workers back: (queued again, failed for good)."""
        rows = (await self._connection.execute(RESCUE, {"max_setbacks": MAX_SETBACKS})).scalars().all()
        await self._connection.execute(FORGET_WORKERS)
        return rows.count("queued"), rows.count("failed")

    async def cancel(self, workspace_id: int, dataset_id: int) -> int:
        """Cancel what is queued or leased; leased seeds lose their token, so late answers change nothing."""
        key = {"workspace_id": workspace_id, "dataset_id": dataset_id}
        await self._connection.execute(LOCK_LIVE, key)
        return (await self._connection.execute(CANCEL, key)).rowcount

    async def resize(self, workspace_id: int, dataset_id: int, before: int, after: int) -> None:
        """The recipe asks for `after` samples a seed instead of `before`."""
        if before != after:
            key = {"workspace_id": workspace_id, "dataset_id": dataset_id}
            await self._connection.execute(RESIZE, {**key, "before": before, "after": after})

    async def requeue(self, workspace_id: int, dataset_id: int, error_class: str | None) -> int:
        """Failed seeds back into the queue with a clean slate, all or those of one error class."""
        result = await self._connection.execute(
            REQUEUE, {"workspace_id": workspace_id, "dataset_id": dataset_id, "error_class": error_class}
        )
        return result.rowcount


def _order(key: LeaseKey) -> tuple[int, int, int]:
    return (key.workspace_id, key.dataset_id, key.seed_id)


def _columns(keys: Sequence[LeaseKey]) -> dict[str, list[object]]:
    return {
        "workspaces": [key.workspace_id for key in keys],
        "datasets": [key.dataset_id for key in keys],
        "seeds": [key.seed_id for key in keys],
        "tokens": [key.token for key in keys],
    }
