"""The queue's statements: enqueue, claim, heartbeat, finish, release, rescue. The database's clock only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseKey, LeaseUpdate

RUNNABLE = text("""
    SELECT d.workspace_id, d.dataset_id, d.recipe_revision, r.body ->> 'teacher' AS teacher, d.weight,
           least(d.target_accepted - s.accepted, d.budget_attempts - s.attempts) AS left_over
    FROM datasets d
    JOIN recipes r USING (workspace_id, dataset_id)
    LEFT JOIN spending s USING (workspace_id, dataset_id)
    WHERE d.state = 'running' AND r.revision = d.recipe_revision
      AND EXISTS (SELECT FROM leases l
                  WHERE l.workspace_id = d.workspace_id AND l.dataset_id = d.dataset_id
                    AND l.state = 'queued' AND l.not_before <= now())
    ORDER BY d.workspace_id, d.dataset_id
""")

# Whose calls should be hung up on: paused by the user, at its target, cancelled, or deleted. A dataset that is out
# of budget keeps its calls: they are paid for.
STOPPED = text("""
    SELECT mine.workspace_id, mine.dataset_id
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[])) AS mine (workspace_id, dataset_id)
    LEFT JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.state IS NULL OR d.state = 'cancelled'
       OR (d.state = 'paused' AND (d.paused_because IS NULL OR d.paused_because LIKE 'target%'))
""")

# One statement: the CTE locks what it picks and skips what others have locked, so two workers never
# see the same row; the token is fresh, so whoever held the seed before can no longer write to it.
# The dataset's row is read FOR SHARE: a claim and a pause or cancel take turns, so that no seed is
# leased after the pause was answered. SKIP LOCKED: a dataset that is just being paused or deleted
# holds up no other; the next poll sees what became of it.
CLAIM = text("""
    WITH dataset AS (
        SELECT workspace_id, dataset_id, recipe_revision FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state = 'running'
        FOR SHARE SKIP LOCKED
    ), picked AS (
        SELECT l.workspace_id, l.dataset_id, l.seed_id FROM leases l, dataset
        WHERE l.workspace_id = :workspace_id AND l.dataset_id = :dataset_id
          AND l.state = 'queued' AND l.not_before <= now()
        ORDER BY l.not_before, l.seed_id
        LIMIT :size
        FOR UPDATE OF l SKIP LOCKED
    ), leased AS (
        UPDATE leases l
        SET state = 'leased', lease_token = gen_random_uuid(), worker_id = :worker_id, tries = l.tries + 1
        FROM picked
        WHERE (l.workspace_id, l.dataset_id, l.seed_id) = (picked.workspace_id, picked.dataset_id, picked.seed_id)
        RETURNING l.seed_id, l.lease_token, l.tries, l.setbacks, l.open_samples
    )
    SELECT leased.*, s.instruction, s.input, s.reference, s.metadata::text AS metadata, dataset.recipe_revision
    FROM leased
    JOIN seeds s ON s.workspace_id = :workspace_id AND s.dataset_id = :dataset_id AND s.seed_id = leased.seed_id
    CROSS JOIN dataset
    ORDER BY leased.seed_id
""")

# Which of these leases are still ours? The row locks last until the completing write commits, so
# a rescue or a cancel cannot slip in between.
LOCK_CURRENT = text("""
    SELECT l.workspace_id, l.dataset_id, l.seed_id, l.lease_token
    FROM leases l
    JOIN unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]))
         AS mine (workspace_id, dataset_id, seed_id, token)
      ON l.workspace_id = mine.workspace_id AND l.dataset_id = mine.dataset_id AND l.seed_id = mine.seed_id
    WHERE l.state = 'leased' AND l.lease_token = mine.token
    ORDER BY l.workspace_id, l.dataset_id, l.seed_id
    FOR UPDATE OF l
""")

# The fence again, in the write itself: without the token in its WHERE, a worker that was paused and
# came back would complete a seed that another worker now owns.
UPDATE = text("""
    UPDATE leases l
    SET state = coalesce(u.state, l.state),
        lease_token = CASE WHEN u.state IS NULL THEN l.lease_token END,
        worker_id = CASE WHEN u.state IS NULL THEN l.worker_id END,
        not_before = CASE WHEN u.state = 'queued' THEN now() + make_interval(secs => u.delay_s) ELSE l.not_before END,
        open_samples = CAST(string_to_array(u.open_samples, ',') AS smallint[]),
        tries = l.tries - CASE WHEN u.state IS NULL OR u.charged THEN 0 ELSE 1 END,
        setbacks = CASE WHEN u.state IS NULL THEN l.setbacks
                        WHEN u.setback THEN l.setbacks + 1
                        WHEN u.charged THEN 0
                        ELSE l.setbacks END,
        error_class = CASE WHEN u.state IS NULL THEN l.error_class ELSE u.error_class END,
        error_text = CASE WHEN u.state IS NULL THEN l.error_text ELSE u.error_text END
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]),
                CAST(:states AS text[]), CAST(:open_samples AS text[]), CAST(:delays AS float8[]), CAST(:charged AS bool[]),
                CAST(:setbacks AS bool[]), CAST(:error_classes AS text[]), CAST(:error_texts AS text[]))
         AS u (workspace_id, dataset_id, seed_id, token, state, open_samples, delay_s, charged, setback, error_class, error_text)
    WHERE l.workspace_id = u.workspace_id AND l.dataset_id = u.dataset_id AND l.seed_id = u.seed_id
      AND l.state = 'leased' AND l.lease_token = u.token
""")

# What this worker holds in the database but not in its hands: all when it leaves; while it runs, the
# leases of a claim whose acknowledgement was lost. In the order in which stores lock.
RELEASE = text("""
    WITH orphans AS (
        SELECT workspace_id, dataset_id, seed_id FROM leases
        WHERE worker_id = :worker_id AND state = 'leased' AND lease_token <> ALL(CAST(:held AS uuid[]))
        ORDER BY workspace_id, dataset_id, seed_id
        FOR UPDATE
    )
    UPDATE leases l SET state = 'queued', lease_token = NULL, worker_id = NULL, tries = l.tries - 1
    FROM orphans o
    WHERE (l.workspace_id, l.dataset_id, l.seed_id) = (o.workspace_id, o.dataset_id, o.seed_id)
""")

# A worker is dead when its own lease time has passed without a beat, or when its row is gone.
RESCUE = text("""
    WITH dead AS (
        SELECT l.workspace_id, l.dataset_id, l.seed_id FROM leases l
        LEFT JOIN workers w USING (worker_id)
        WHERE l.state = 'leased'
          AND (w.worker_id IS NULL OR w.beat_at < now() - make_interval(secs => w.lease_s))
        LIMIT 10000
        FOR UPDATE OF l SKIP LOCKED
    )
    UPDATE leases l
    SET state = CASE WHEN l.setbacks + 1 >= :max_setbacks THEN 'failed' ELSE 'queued' END,
        lease_token = NULL, worker_id = NULL, tries = l.tries - 1, setbacks = l.setbacks + 1,
        error_class = 'worker_lost',
        error_text = 'the worker that held this seed stopped without finishing it'
    FROM dead
    WHERE (l.workspace_id, l.dataset_id, l.seed_id) = (dead.workspace_id, dead.dataset_id, dead.seed_id)
    RETURNING l.state
""")

FORGET_WORKERS = text(
    "DELETE FROM workers WHERE beat_at < now() - greatest(make_interval(secs => lease_s * 10), interval '1 hour')"
)

# Locks in the order in which stores lock, so that the two never wait for each other in a circle.
CANCEL = text("""
    WITH live AS (
        SELECT seed_id FROM leases
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state IN ('queued', 'leased')
        ORDER BY seed_id
        FOR UPDATE
    )
    UPDATE leases l SET state = 'cancelled', lease_token = NULL, worker_id = NULL
    FROM live
    WHERE l.workspace_id = :workspace_id AND l.dataset_id = :dataset_id AND l.seed_id = live.seed_id
""")

REQUEUE = text("""
    WITH dataset AS (
        SELECT FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state <> 'cancelled'
        FOR SHARE
    )
    UPDATE leases SET state = 'queued', tries = 0, setbacks = 0, not_before = now()
    FROM dataset
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state = 'failed'
      AND (CAST(:error_class AS text) IS NULL OR error_class = :error_class)
""")


# A recipe that asks for more or fewer samples a seed: seeds of which some samples are settled get the new ones too.
# Those that are leased are settled by the revision that they were leased with.
RESIZE = text("""
    UPDATE leases
    SET open_samples = ARRAY(SELECT i FROM unnest(open_samples) AS i WHERE i < :after)
                       || CAST(ARRAY(SELECT generate_series(CAST(:before AS int), CAST(:after AS int) - 1)) AS smallint[])
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id
      AND state IN ('queued', 'failed') AND open_samples IS NOT NULL
""")


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
        return [RunnableDataset(*row) for row in await self._connection.execute(RUNNABLE)]

    async def claim(self, dataset: RunnableDataset, worker_id: UUID, size: int) -> list[LeasedSeed]:
        """Lease up to `size` due seeds, oldest first. Empty if there are none or the dataset stopped running."""
        rows = await self._connection.execute(
            CLAIM,
            {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id, "worker_id": worker_id, "size": size},
        )
        return [
            LeasedSeed(
                key=LeaseKey(dataset.workspace_id, dataset.dataset_id, row.seed_id, row.lease_token),
                recipe_revision=row.recipe_revision,
                instruction=row.instruction,
                input=row.input,
                reference=row.reference,
                metadata=orjson.loads(row.metadata) if row.metadata else {},
                tries=row.tries,
                setbacks=row.setbacks,
                open_samples=None if row.open_samples is None else tuple(row.open_samples),
            )
            for row in rows
        ]

    async def stopped(self, datasets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of the (workspace, dataset) pairs whose calls in flight are not wanted any more."""
        columns = {"workspaces": [pair[0] for pair in datasets], "datasets": [pair[1] for pair in datasets]}
        return [(row.workspace_id, row.dataset_id) for row in await self._connection.execute(STOPPED, columns)]

    async def lock_current(self, keys: Iterable[LeaseKey]) -> set[LeaseKey]:
        """Those of the leases that are still held, locked until the transaction ends."""
        rows = await self._connection.execute(LOCK_CURRENT, _columns(sorted(set(keys), key=_order)))
        return {LeaseKey(row.workspace_id, row.dataset_id, row.seed_id, row.lease_token) for row in rows}

    async def update(self, updates: Mapping[LeaseKey, LeaseUpdate]) -> int:
        """Apply the updates whose tokens are current; returns how many were."""
        if not updates:
            return 0
        values = list(updates.values())
        result = await self._connection.execute(
            UPDATE,
            {
                **_columns(list(updates)),
                "states": [value.state for value in values],
                "open_samples": [",".join(map(str, value.open_samples)) for value in values],
                "delays": [value.delay_s for value in values],
                "charged": [value.charged for value in values],
                "setbacks": [value.setback for value in values],
                "error_classes": [value.error_class for value in values],
                "error_texts": [value.error_text for value in values],
            },
        )
        return result.rowcount

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
        return (await self._connection.execute(CANCEL, {"workspace_id": workspace_id, "dataset_id": dataset_id})).rowcount

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
