"""The dataset's statements. Whoever wants numbers that add up calls `funnel` inside one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, cast

import orjson
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.teachers.diagnosis import LOOKED_AT, ReasoningSeen

INSERT = text("""
    INSERT INTO datasets (workspace_id, name, weight, target_accepted, budget_attempts, budget_tokens, budget_wall_s)
    VALUES (:workspace_id, :name, :weight, :target_accepted, :budget_attempts, :budget_tokens, :budget_wall_s)
    ON CONFLICT DO NOTHING RETURNING dataset_id
""")
INSERT_RECIPE = text("""
    INSERT INTO recipes (workspace_id, dataset_id, revision, body, hash)
    VALUES (:workspace_id, :dataset_id, :revision, CAST(:body AS jsonb), :hash)
""")
SELECT_ONE = text("""
    SELECT d.workspace_id, d.dataset_id, d.name, d.state, d.paused_because, d.recipe_revision, d.weight, d.target_accepted,
           d.budget_attempts, d.budget_tokens, d.budget_wall_s, d.created_at, r.body::text AS recipe, r.hash AS recipe_hash
    FROM datasets d JOIN recipes r USING (workspace_id, dataset_id)
    WHERE d.workspace_id = :workspace_id AND d.name = :name AND r.revision = d.recipe_revision
""")
# Claims and uploads hold this lock shared while they rely on a dataset's state. It queues fairly, which row locks
# do not: whoever changes the state waits for those before, and those after wait for it.
LOCK_STATE = text("SELECT pg_advisory_xact_lock(CAST(:dataset_id AS bigint))")
LOCK_ROW = text("SELECT FROM datasets WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id FOR UPDATE")
SELECT_PAGE = text("""
    SELECT d.dataset_id, d.name, d.state, d.created_at, r.hash AS recipe_hash,
           (SELECT coalesce(json_object_agg(state, n), '{}')::text
            FROM (SELECT l.state, count(*) AS n FROM leases l
                  WHERE l.workspace_id = d.workspace_id AND l.dataset_id = d.dataset_id GROUP BY l.state) AS states) AS seeds
    FROM datasets d JOIN recipes r USING (workspace_id, dataset_id)
    WHERE d.workspace_id = :workspace_id AND r.revision = d.recipe_revision AND d.dataset_id > :after
    ORDER BY d.dataset_id LIMIT :size
""")
SELECT_RECIPE = text("""
    SELECT body::text AS body, hash FROM recipes
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND revision = :revision
""")
SET_STATE = text("""
    UPDATE datasets SET state = CAST(:state AS text), paused_because = NULL,
                        clock_from = CASE WHEN CAST(:state AS text) = 'running' AND state = 'paused' THEN now() ELSE clock_from END
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state <> 'cancelled'
""")
SET_RECIPE = text("""
    UPDATE datasets SET recipe_revision = :revision
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state <> 'cancelled'
""")
DELETE = text("DELETE FROM datasets WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id")
# A seed takes its lease, attempts and samples with it.
DELETE_SEEDS = text("""
    DELETE FROM seeds s USING (
        SELECT seed_id FROM seeds WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id ORDER BY seed_id LIMIT :size
    ) AS part
    WHERE s.workspace_id = :workspace_id AND s.dataset_id = :dataset_id AND s.seed_id = part.seed_id
""")
DELETE_KEYS = text("DELETE FROM duplicate_keys WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id")

ONE = "WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id"
SEEDS = text(f"SELECT state, count(*) FROM leases {ONE} GROUP BY state")  # noqa: S608 -- a constant
# Each half reads one partial index and none of the wide rows.
SAMPLES = text(f"""
    SELECT 'accepted' AS verdict, NULL AS reason, count(*) FROM samples {ONE} AND verdict = 'accepted' HAVING count(*) > 0
    UNION ALL
    (SELECT 'rejected', reason, count(*) FROM samples {ONE} AND reason IS NOT NULL GROUP BY reason ORDER BY 3 DESC, 2)
""")  # noqa: S608
ATTEMPTS = text(f"""
    SELECT outcome, error_class, count(*), sum(prompt_tokens), sum(completion_tokens)
    FROM attempts {ONE} GROUP BY outcome, error_class ORDER BY 3 DESC, 2
""")  # noqa: S608
FAILURES = text(f"""
    SELECT error_class, count(*), (array_agg(error_text ORDER BY seed_id DESC))[1]
    FROM leases {ONE} AND state = 'failed' GROUP BY error_class ORDER BY 2 DESC, 1
""")  # noqa: S608
# The newest attempts say the rate; ids only grow, so this reads the end of the primary key.
RECENT = text(f"""
    SELECT count(*) FILTER (WHERE outcome = 'ok'), coalesce(sum(completion_tokens), 0),
           extract(epoch FROM now() - min(created_at))
    FROM (SELECT outcome, completion_tokens, created_at FROM attempts {ONE} ORDER BY attempt_id DESC LIMIT 20000) AS newest
    WHERE created_at > now() - interval '60 seconds'
""")  # noqa: S608
FIRST_SEEN = text(
    f"SELECT reasoning_seen FROM attempts {ONE} AND outcome = 'ok' AND reasoning_seen IS NOT NULL ORDER BY attempt_id LIMIT :size"  # noqa: S608
)
NEWEST_ATTEMPTS = text(f"SELECT outcome, error_class, error_text FROM attempts {ONE} ORDER BY attempt_id DESC LIMIT :size")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a teacher a dataset gets, and when it pauses itself; None is without limit."""

    weight: float = 1.0
    target_accepted: int | None = None
    budget_attempts: int | None = None
    budget_tokens: int | None = None
    budget_wall_s: int | None = None


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset and its current recipe."""

    workspace_id: int
    dataset_id: int
    name: str
    state: str
    paused_because: str | None
    recipe_revision: int
    weight: float
    target_accepted: int | None
    budget_attempts: int | None
    budget_tokens: int | None
    budget_wall_s: int | None
    created_at: datetime
    recipe: dict[str, Any]
    recipe_hash: str


@dataclass(frozen=True, slots=True)
class Funnel:
    """The counts of one dataset; one instant if read in one snapshot."""

    seeds: dict[str, int]
    samples: list[tuple[str, str | None, int]]
    attempts: list[tuple[str, str | None, int, int, int]]
    failures: list[tuple[str | None, int, str | None]]
    recent: tuple[int, int, float | None]
    first_seen: list[ReasoningSeen]
    newest: list[tuple[str, str | None, str | None]]


class DatasetRepository:
    """Datasets, on one connection; the caller owns the transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, workspace_id: int, name: str, limits: Limits) -> int | None:
        """The new dataset's id, or None if the name is taken; it has no recipe yet."""
        dataset_id = (
            await self._connection.execute(INSERT, {"workspace_id": workspace_id, "name": name, **asdict(limits)})
        ).scalar()
        return None if dataset_id is None else int(dataset_id)

    async def insert_recipe(
        self, workspace_id: int, dataset_id: int, revision: int, body: dict[str, Any], recipe_hash: str
    ) -> None:
        """One more revision."""
        key = {"workspace_id": workspace_id, "dataset_id": dataset_id, "revision": revision}
        await self._connection.execute(INSERT_RECIPE, {**key, "body": orjson.dumps(body).decode(), "hash": recipe_hash})

    async def set_recipe(self, dataset: DatasetRow, revision: int) -> bool:
        """What is claimed from now on follows that revision. False if the dataset is cancelled."""
        parameters = {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id, "revision": revision}
        return (await self._connection.execute(SET_RECIPE, parameters)).rowcount == 1

    async def find(self, workspace_id: int, name: str, *, for_update: bool = False) -> DatasetRow | None:
        """The dataset of that name, locked if it is to be changed."""
        named = {"workspace_id": workspace_id, "name": name}
        row = (await self._connection.execute(SELECT_ONE, named)).mappings().first()
        if row is not None and for_update:
            key = {"workspace_id": workspace_id, "dataset_id": row["dataset_id"]}
            await self._connection.execute(LOCK_STATE, {"dataset_id": row["dataset_id"]})
            await self._connection.execute(LOCK_ROW, key)
            # As whoever was waited for has left it.
            row = (await self._connection.execute(SELECT_ONE, named)).mappings().first()
        return None if row is None else DatasetRow(**{**row, "recipe": orjson.loads(row["recipe"])})

    async def page(self, workspace_id: int, after: int, size: int) -> Sequence[RowMapping]:
        """Up to `size` datasets by age, those after id `after`."""
        parameters = {"workspace_id": workspace_id, "after": after, "size": size}
        return (await self._connection.execute(SELECT_PAGE, parameters)).mappings().all()

    async def recipe(self, workspace_id: int, dataset_id: int, revision: int) -> tuple[dict[str, Any], str]:
        """(body, hash) of one revision."""
        row = (
            await self._connection.execute(
                SELECT_RECIPE, {"workspace_id": workspace_id, "dataset_id": dataset_id, "revision": revision}
            )
        ).one()
        return orjson.loads(row.body), row.hash

    async def set_state(self, dataset: DatasetRow, state: str) -> bool:
        """False if the dataset is cancelled, which is for good."""
        await self._connection.execute(LOCK_STATE, {"dataset_id": dataset.dataset_id})
        parameters = {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id, "state": state}
        return (await self._connection.execute(SET_STATE, parameters)).rowcount == 1

    async def delete_some(self, dataset: DatasetRow, size: int) -> int:
        """Up to `size` seeds with all that hangs on them; returns how many there were."""
        parameters = {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id, "size": size}
        return (await self._connection.execute(DELETE_SEEDS, parameters)).rowcount

    async def delete(self, dataset: DatasetRow) -> None:
        """The dataset and what is left of it; fast once `delete_some` has emptied it."""
        await self._connection.execute(DELETE_KEYS, {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id})
        await self._connection.execute(DELETE, {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id})

    async def funnel(self, dataset: DatasetRow) -> Funnel:
        """All counts of the dataset."""
        one = {"workspace_id": dataset.workspace_id, "dataset_id": dataset.dataset_id}

        async def rows(statement: Any, **more: int) -> list[tuple[Any, ...]]:  # noqa: ANN401 -- a TextClause
            return [tuple(row) for row in await self._connection.execute(statement, {**one, **more})]

        recent = (await rows(RECENT))[0]
        return Funnel(
            seeds=dict(cast("list[tuple[str, int]]", await rows(SEEDS))),
            samples=cast("list[tuple[str, str | None, int]]", await rows(SAMPLES)),
            attempts=cast("list[tuple[str, str | None, int, int, int]]", await rows(ATTEMPTS)),
            failures=cast("list[tuple[str | None, int, str | None]]", await rows(FAILURES)),
            recent=(recent[0], int(recent[1]), None if recent[2] is None else float(recent[2])),
            first_seen=[row[0] for row in await rows(FIRST_SEEN, size=LOOKED_AT)],
            newest=cast("list[tuple[str, str | None, str | None]]", await rows(NEWEST_ATTEMPTS, size=5)),
        )
