"""Reading samples: pages by key, one with its attempts, and the stream of what is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import HotStatement

COLUMNS = """
    p.sample_id, p.seed_id, p.sample_index, p.verdict, p.reason, p.detail, s.instruction, s.input, p.reasoning, p.response,
    p.teacher, p.recipe_revision, p.prompt_tokens, p.completion_tokens, p.created_at
"""
JOINED = "FROM samples p JOIN seeds s USING (workspace_id, dataset_id, seed_id) WHERE p.workspace_id = :workspace_id AND p.dataset_id = :dataset_id"
PAGE = f"SELECT {COLUMNS} {JOINED} AND p.sample_id > :after {{filters}} ORDER BY p.sample_id LIMIT :size"
FILTERS = {
    "verdict": "AND p.verdict = :verdict",
    "reason": "AND p.reason = :reason",
    "q": r"AND (p.response ILIKE :q ESCAPE '\' OR p.reasoning ILIKE :q ESCAPE '\' OR s.instruction ILIKE :q ESCAPE '\' OR s.input ILIKE :q ESCAPE '\')",
}
ONE = text(f"SELECT {COLUMNS}, s.reference, s.metadata::text AS metadata {JOINED} AND p.sample_id = :sample_id")
ATTEMPTS = text("""
    SELECT attempt_id, outcome, error_class, error_text, model, finish_reason, prompt_tokens, completion_tokens, latency_ms, raw, created_at
    FROM attempts
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND seed_id = :seed_id AND sample_index = :sample_index
    ORDER BY attempt_id
""")
# Sample ids are given out while a store holds the dataset's lock, shared or alone, until its commit is
# seen. So whoever has it alone sees every id up to the highest one, and no later commit can slip in
# below: that is how an export is bounded. Alone is also how stores that compare with what is accepted
# take turns, so that two workers that finish near-duplicates at the same moment keep one.
LOCK_STORES = HotStatement("SELECT pg_advisory_xact_lock(CAST(:workspace_id AS int), hashint8(CAST(:dataset_id AS bigint)))")
SHARE_STORES = HotStatement(
    "SELECT pg_advisory_xact_lock_shared(CAST(:workspace_id AS int), hashint8(CAST(:dataset_id AS bigint)))"
)
# The count reads uq_samples_accepted alone, the highest id the end of the primary key.
BOUND = text("""
    SELECT count(*) AS samples, coalesce((
        SELECT p.sample_id FROM samples p
        WHERE p.workspace_id = :workspace_id AND p.dataset_id = :dataset_id AND p.verdict = 'accepted'
        ORDER BY p.sample_id DESC LIMIT 1
    ), 0) AS last_id
    FROM samples WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND verdict = 'accepted'
""")
ACCEPTED = text(f"""
    SELECT {COLUMNS}, r.hash AS recipe_hash
    FROM samples p
    JOIN seeds s USING (workspace_id, dataset_id, seed_id)
    JOIN recipes r ON r.workspace_id = p.workspace_id AND r.dataset_id = p.dataset_id AND r.revision = p.recipe_revision
    WHERE p.workspace_id = :workspace_id AND p.dataset_id = :dataset_id AND p.verdict = 'accepted'
      AND p.sample_id > :after AND p.sample_id <= :last_id
    ORDER BY p.sample_id LIMIT :size
""")  # noqa: S608


class SampleRepository:
    """Samples of one dataset, on one connection; the caller owns the transaction."""

    def __init__(self, connection: AsyncConnection, workspace_id: int, dataset_id: int) -> None:
        self._connection = connection
        self._dataset = {"workspace_id": workspace_id, "dataset_id": dataset_id}

    async def page(
        self, after: int, size: int, *, verdict: str | None, reason: str | None, q: str | None
    ) -> Sequence[RowMapping]:
        """Up to `size` samples after an id, by id; `q` is looked for in the texts, whatever its case."""
        given: dict[str, Any] = {
            "verdict": verdict,
            "reason": reason,
            "q": None if q is None else "%" + q.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%",
        }
        filters = {name: value for name, value in given.items() if value is not None}
        statement = text(PAGE.format(filters=" ".join(FILTERS[name] for name in filters)))
        parameters = {**self._dataset, "after": after, "size": size, **filters}
        return (await self._connection.execute(statement, parameters)).mappings().all()

    async def one(self, sample_id: int) -> RowMapping | None:
        """One sample with its seed."""
        return (await self._connection.execute(ONE, {**self._dataset, "sample_id": sample_id})).mappings().first()

    async def attempts(self, seed_id: int, sample_index: int) -> Sequence[RowMapping]:
        """All teacher calls for one sample of one seed, oldest first."""
        parameters = {**self._dataset, "seed_id": seed_id, "sample_index": sample_index}
        return (await self._connection.execute(ATTEMPTS, parameters)).mappings().all()

    async def bound_export(self) -> tuple[int, int]:
        """(how many samples an export of this instant holds, the highest of their ids)."""
        await LOCK_STORES.rows(self._connection, **self._dataset)
        row = (await self._connection.execute(BOUND, self._dataset)).one()
        return row.samples, row.last_id

    async def accepted(self, after: int, last_id: int, size: int) -> Sequence[RowMapping]:
        """Accepted samples by id, each with its seed and recipe hash."""
        parameters = {**self._dataset, "after": after, "last_id": last_id, "size": size}
        return (await self._connection.execute(ACCEPTED, parameters)).mappings().all()
