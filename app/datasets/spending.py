"""What datasets with a target or a budget have used, and pausing those that have reached it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import HotStatement
from app.datasets.repository import LOCK_STATE, Limits
from app.samples.repository import LOCK_STORES

DatasetId = tuple[int, int]

# Under the store lock: no attempt can be stored between the counting and the row that counts from then on.
OPEN = text("""
    INSERT INTO spending (workspace_id, dataset_id, attempts, tokens, accepted)
    SELECT :workspace_id, :dataset_id,
           (SELECT count(*) FROM attempts WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id),
           (SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM attempts
            WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id),
           (SELECT count(*) FROM samples
            WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND verdict = 'accepted')
    ON CONFLICT DO NOTHING
""")
SET_LIMITS = text("""
    UPDATE datasets
    SET weight = :weight, target_accepted = :target_accepted, budget_attempts = :budget_attempts,
        budget_tokens = :budget_tokens, budget_wall_s = :budget_wall_s,
        clock_from = CASE WHEN budget_wall_s IS DISTINCT FROM CAST(:budget_wall_s AS bigint) THEN now() ELSE clock_from END
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id
""")
SPEND = HotStatement("""
    UPDATE spending s
    SET attempts = s.attempts + u.attempts, tokens = s.tokens + u.tokens
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:attempts AS bigint[]), CAST(:tokens AS bigint[]))
         AS u (workspace_id, dataset_id, attempts, tokens)
    JOIN datasets d USING (workspace_id, dataset_id)
    WHERE s.workspace_id = u.workspace_id AND s.dataset_id = u.dataset_id
    RETURNING s.workspace_id, s.dataset_id, d.target_accepted - s.accepted AS left_over
""")
ACCEPT = text("""
    UPDATE spending SET accepted = accepted + :count WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id
""")
REACHED = """
    CASE WHEN s.accepted >= d.target_accepted
         THEN format('target: %s samples are accepted', s.accepted)
         WHEN s.attempts >= d.budget_attempts
         THEN format('budget: %s attempts are made (limit %s)', s.attempts, d.budget_attempts)
         WHEN s.tokens >= d.budget_tokens
         THEN format('budget: %s tokens are used (limit %s)', s.tokens, d.budget_tokens)
         WHEN now() >= d.clock_from + make_interval(secs => d.budget_wall_s)
         THEN format('budget: its %s seconds are over', d.budget_wall_s)
    END
"""
AT_LIMIT = text(f"""
    SELECT d.workspace_id, d.dataset_id FROM spending s JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.state = 'running' AND {REACHED} IS NOT NULL
    ORDER BY d.dataset_id
""")  # noqa: S608 -- a constant
PAUSE_REACHED = text(f"""
    UPDATE datasets d SET state = 'paused', paused_because = {REACHED}
    FROM spending s
    WHERE d.workspace_id = :workspace_id AND d.dataset_id = :dataset_id AND d.state = 'running' AND {REACHED} IS NOT NULL
      AND s.workspace_id = d.workspace_id AND s.dataset_id = d.dataset_id
    RETURNING d.dataset_id, d.paused_because
""")  # noqa: S608
WHY_REACHED = text(f"""
    SELECT {REACHED} FROM spending s JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.workspace_id = :workspace_id AND d.dataset_id = :dataset_id
""")  # noqa: S608


@dataclass(slots=True)
class Spent:
    """What one batch adds to a dataset's spending."""

    attempts: int = 0
    tokens: int = 0


class SpendingRepository:
    """Limits and what counts against them, on one connection; the caller owns the transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set_limits(self, dataset: DatasetId, limits: Limits) -> None:
        """From now on; what was used before counts."""
        key = {"workspace_id": dataset[0], "dataset_id": dataset[1]}
        await self._connection.execute(SET_LIMITS, {**key, **asdict(limits)})
        if limits != Limits(weight=limits.weight):
            await LOCK_STORES.rows(self._connection, **key)
            await self._connection.execute(OPEN, key)

    async def spend(self, spent: Mapping[DatasetId, Spent]) -> dict[DatasetId, int | None]:
        """Count what a batch used, under the datasets' store locks.

        Returns those of the datasets that have limits, each with how many samples it still takes (None: it has no target).
        """
        rows = await SPEND.rows(
            self._connection,
            workspaces=[dataset[0] for dataset in spent],
            datasets=[dataset[1] for dataset in spent],
            attempts=[each.attempts for each in spent.values()],
            tokens=[each.tokens for each in spent.values()],
        )
        return {(workspace, dataset): None if left is None else max(0, left) for workspace, dataset, left in rows}

    async def accept(self, accepted: Mapping[DatasetId, int]) -> None:
        """So many samples more are accepted; nothing for datasets without limits."""
        for (workspace_id, dataset_id), count in sorted(accepted.items()):
            key = {"workspace_id": workspace_id, "dataset_id": dataset_id}
            await self._connection.execute(ACCEPT, {**key, "count": count})

    async def pause_reached(self) -> list[tuple[int, str]]:
        """Pause the running datasets that have reached their target or a budget; returns (dataset, why)."""
        paused = []
        for dataset in (await self._connection.execute(AT_LIMIT)).mappings().all():
            await self._connection.execute(LOCK_STATE, {"dataset_id": dataset["dataset_id"]})
            rows = await self._connection.execute(PAUSE_REACHED, dict(dataset))
            paused += [(row.dataset_id, row.paused_because) for row in rows]
        return paused

    async def why_reached(self, dataset: DatasetId) -> str | None:
        """The words if the dataset stands at a limit."""
        key = {"workspace_id": dataset[0], "dataset_id": dataset[1]}
        words: str | None = (await self._connection.execute(WHY_REACHED, key)).scalar()
        return words
