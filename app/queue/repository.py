"""The queue's statements: enqueue, claim, heartbeat, finish, release, rescue. The database's clock only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import HotStatement
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseKey, LeaseUpdate

# From one dataset with queued seeds to the next, along ix_leases_claim (no other index has this order),
# so that finished datasets cost nothing, however many there are.
RUNNABLE = HotStatement("""
    WITH RECURSIVE waiting AS (
        (SELECT workspace_id, dataset_id FROM leases WHERE state = 'queued'
         ORDER BY workspace_id, dataset_id, not_before, seed_id LIMIT 1)
        UNION ALL
        SELECT following.workspace_id, following.dataset_id
        FROM waiting CROSS JOIN LATERAL (
            SELECT l.workspace_id, l.dataset_id FROM leases l
            WHERE l.state = 'queued' AND (l.workspace_id, l.dataset_id) > (waiting.workspace_id, waiting.dataset_id)
            ORDER BY l.workspace_id, l.dataset_id, l.not_before, l.seed_id LIMIT 1
        ) AS following
    )
    SELECT waiting.workspace_id, waiting.dataset_id, found.recipe_revision, found.teacher, found.weight, found.left_over
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT d.recipe_revision, r.body ->> 'teacher' AS teacher, d.weight,
               least(d.target_accepted - s.accepted, d.budget_attempts - s.attempts) AS left_over
        FROM datasets d JOIN recipes r
          ON r.workspace_id = d.workspace_id AND r.dataset_id = d.dataset_id AND r.revision = d.recipe_revision
        LEFT JOIN spending s ON s.workspace_id = d.workspace_id AND s.dataset_id = d.dataset_id
        WHERE d.workspace_id = waiting.workspace_id AND d.dataset_id = waiting.dataset_id AND d.state = 'running'
        LIMIT 1
    ) AS found
    CROSS JOIN LATERAL (
        SELECT FROM leases l
        WHERE l.workspace_id = waiting.workspace_id AND l.dataset_id = waiting.dataset_id
          AND l.state = 'queued' AND l.not_before <= now()
        ORDER BY l.not_before, l.seed_id LIMIT 1
    ) AS due
    ORDER BY waiting.workspace_id, waiting.dataset_id
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
# The rows that are locked are found again by their place (ctid), which cannot move while they are
# locked, and each seed by LATERAL with LIMIT: neither leaves the planner a choice (decision 0004).
CLAIM = HotStatement("""
    WITH dataset AS (
        SELECT workspace_id, dataset_id, recipe_revision FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state = 'running'
        FOR SHARE SKIP LOCKED
    ), picked AS MATERIALIZED (
        SELECT l.ctid AS place FROM leases l, dataset
        WHERE l.workspace_id = :workspace_id AND l.dataset_id = :dataset_id
          AND l.state = 'queued' AND l.not_before <= now()
        ORDER BY l.not_before, l.seed_id
        LIMIT :size
        FOR UPDATE OF l SKIP LOCKED
    ), leased AS (
        UPDATE leases l
        SET state = 'leased', lease_token = gen_random_uuid(), worker_id = :worker_id, tries = l.tries + 1
        FROM picked
        WHERE l.ctid = picked.place
        RETURNING l.seed_id, l.lease_token, l.tries, l.setbacks, l.open_samples
    )
    SELECT leased.*, s.instruction, s.input, s.reference, s.metadata::text AS metadata, dataset.recipe_revision
    FROM leased
    CROSS JOIN dataset
    CROSS JOIN LATERAL (
        SELECT s.instruction, s.input, s.reference, s.metadata FROM seeds s
        WHERE s.workspace_id = :workspace_id AND s.dataset_id = :dataset_id AND s.seed_id = leased.seed_id
        LIMIT 1
    ) AS s
""")

# Which of these leases are still ours? The row locks last until the completing write commits, so
# a rescue or a cancel cannot slip in between. The token alone says `leased` (a CHECK ties the two);
# naming the state would offer the planner ix_leases_worker, which it was seen to walk for every row.
LOCK_CURRENT = HotStatement("""
    SELECT mine.workspace_id, mine.dataset_id, mine.seed_id, mine.token
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]))
         AS mine (workspace_id, dataset_id, seed_id, token)
    CROSS JOIN LATERAL (
        SELECT FROM leases l
        WHERE l.workspace_id = mine.workspace_id AND l.dataset_id = mine.dataset_id AND l.seed_id = mine.seed_id
          AND l.lease_token = mine.token
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS l
""")

# The fence, in the write itself: without the token in its WHERE, a worker that was paused and
# came back would complete a seed that another worker now owns. The rows are locked in the order in
# which they are given, then found again by their place. Most rows of a batch say the same, so what
# they say is sent once and `kind` points at it.
UPDATE = HotStatement("""
    WITH u AS MATERIALIZED (
        SELECT mine.token, mine.kind, l.place
        FROM unnest(CAST(:seeds AS bigint[]), CAST(:tokens AS uuid[]), CAST(:kinds AS smallint[])) AS mine (seed_id, token, kind)
        CROSS JOIN LATERAL (
            SELECT l.ctid AS place FROM leases l
            WHERE l.workspace_id = (CAST(:workspaces AS int[]))[mine.kind] AND l.dataset_id = (CAST(:datasets AS bigint[]))[mine.kind]
              AND l.seed_id = mine.seed_id AND l.lease_token = mine.token
            LIMIT 1
            FOR NO KEY UPDATE
        ) AS l
    ), said AS (
        SELECT u.place, u.token, (CAST(:states AS text[]))[u.kind] AS state, (CAST(:open_samples AS text[]))[u.kind] AS open_samples,
               (CAST(:delays AS float8[]))[u.kind] AS delay_s, (CAST(:charged AS bool[]))[u.kind] AS charged,
               (CAST(:setbacks AS bool[]))[u.kind] AS setback, (CAST(:error_classes AS text[]))[u.kind] AS error_class,
               (CAST(:error_texts AS text[]))[u.kind] AS error_text
        FROM u
    )
    UPDATE leases l
    SET state = coalesce(said.state, l.state),
        lease_token = CASE WHEN said.state IS NULL THEN l.lease_token END,
        worker_id = CASE WHEN said.state IS NULL THEN l.worker_id END,
        not_before = CASE WHEN said.state = 'queued' THEN now() + make_interval(secs => said.delay_s) ELSE l.not_before END,
        open_samples = CAST(string_to_array(said.open_samples, ',') AS smallint[]),
        tries = l.tries - CASE WHEN said.state IS NULL OR said.charged THEN 0 ELSE 1 END,
        setbacks = CASE WHEN said.state IS NULL THEN l.setbacks
                        WHEN said.setback THEN l.setbacks + 1
                        WHEN said.charged THEN 0
                        ELSE l.setbacks END,
        error_class = CASE WHEN said.state IS NULL THEN l.error_class ELSE said.error_class END,
        error_text = CASE WHEN said.state IS NULL THEN l.error_text ELSE said.error_text END
    FROM said
    WHERE l.ctid = said.place
    RETURNING said.token
""")

# What this worker holds in the database but not in its hands: all when it leaves; while it runs, the
# leases of a claim whose acknowledgement was lost. In the order in which stores lock.
RELEASE = text("""
    WITH orphans AS MATERIALIZED (
        SELECT ctid AS place FROM leases
        WHERE worker_id = :worker_id AND state = 'leased' AND lease_token <> ALL(CAST(:held AS uuid[]))
        ORDER BY workspace_id, dataset_id, seed_id
        FOR UPDATE
    )
    UPDATE leases l SET state = 'queued', lease_token = NULL, worker_id = NULL, tries = l.tries - 1
    FROM orphans o
    WHERE l.ctid = o.place
""")

# A worker is dead when its own lease time has passed without a beat, or when its row is gone.
RESCUE = text("""
    WITH dead AS MATERIALIZED (
        SELECT l.ctid AS place FROM leases l
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
    WHERE l.ctid = dead.place
    RETURNING l.state
""")

FORGET_WORKERS = text(
    "DELETE FROM workers WHERE beat_at < now() - greatest(make_interval(secs => lease_s * 10), interval '1 hour')"
)

# Locks in the order in which stores lock, so that the two never wait for each other in a circle.
CANCEL = text("""
    WITH live AS MATERIALIZED (
        SELECT ctid AS place FROM leases
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state IN ('queued', 'leased')
        ORDER BY seed_id
        FOR UPDATE
    )
    UPDATE leases l SET state = 'cancelled', lease_token = NULL, worker_id = NULL
    FROM live
    WHERE l.ctid = live.place
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

    async def stopped(self, datasets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those of the (workspace, dataset) pairs whose calls in flight are not wanted any more."""
        columns = {"workspaces": [pair[0] for pair in datasets], "datasets": [pair[1] for pair in datasets]}
        return [(row.workspace_id, row.dataset_id) for row in await self._connection.execute(STOPPED, columns)]

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
            open_samples=[",".join(map(str, value.open_samples)) for value in values],
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
