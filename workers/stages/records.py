"""The statements that store attempts, samples and their duplicate keys, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.curation.candidate import TextField
from app.curation.duplicates import Key
from app.database import HotStatement, copy_rows
from workers.completion import MAX_RAW_BYTES, STALE, AttemptRecord, Completion, SampleRecord

# Which of these attempts can be stored: a seed that was deleted meanwhile takes none, and what a commit
# with a lost acknowledgement has stored is there already.
STORABLE_ATTEMPTS = HotStatement("""
    SELECT u.seed_id, u.token, u.sample_index
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]),
                CAST(:tokens AS uuid[]), CAST(:indices AS smallint[]))
         AS u (workspace_id, dataset_id, seed_id, token, sample_index)
    CROSS JOIN LATERAL (
        SELECT FROM seeds s
        WHERE s.workspace_id = u.workspace_id AND s.dataset_id = u.dataset_id AND s.seed_id = u.seed_id
        LIMIT 1
    ) AS s
    LEFT JOIN LATERAL (
        SELECT true AS stored FROM attempts a
        WHERE a.workspace_id = u.workspace_id AND a.dataset_id = u.dataset_id AND a.seed_id = u.seed_id
          AND a.lease_token = u.token AND a.sample_index = u.sample_index
        LIMIT 1
    ) AS a ON true
    WHERE a.stored IS NULL
""")
ATTEMPT_COLUMNS = (
    *("workspace_id", "dataset_id", "seed_id", "lease_token", "sample_index", "recipe_revision", "teacher", "model"),
    *("outcome", "error_class", "error_text", "finish_reason", "reasoning_seen"),
    *("prompt_tokens", "completion_tokens", "latency_ms", "raw"),
)

# Taken under the store lock (app/samples/repository.py), in the order of the rows that get them.
SAMPLE_IDS = HotStatement("""
    SELECT nextval(pg_get_serial_sequence('samples', 'sample_id')) FROM generate_series(1, CAST(:count AS int))
""")
SAMPLE_COLUMNS = (
    *("workspace_id", "dataset_id", "sample_id", "seed_id", "lease_token", "sample_index", "recipe_revision", "teacher"),
    *("verdict", "reason", "detail", "reasoning", "response", "prompt_tokens", "completion_tokens"),
)

# LATERAL with LIMIT makes each a look-up by its whole key, whatever the planner believes about a
# table that was empty a minute ago; a plain join was seen to scan both tables for every key.
# Several indexes of samples begin with (workspace, dataset): the range and its order leave only the
# primary key, and `verdict` is asked outside, or the planner was seen to walk uq_samples_accepted.
FIND_CANDIDATES = HotStatement("""
    WITH hits AS MATERIALIZED (
        SELECT DISTINCT u.slot, u.key, k.sample_id
        FROM unnest(CAST(:slots AS smallint[]), CAST(:keys AS bigint[])) AS u (slot, key)
        CROSS JOIN LATERAL (
            SELECT k.sample_id FROM duplicate_keys k
            WHERE k.workspace_id = :workspace_id AND k.dataset_id = :dataset_id AND k.slot = u.slot AND k.key = u.key
            LIMIT 1000
        ) AS k
    ), by_sample AS MATERIALIZED (
        SELECT sample_id, array_agg(slot) AS slots, array_agg(key) AS keys FROM hits GROUP BY sample_id
    )
    SELECT by_sample.slots, by_sample.keys, p.seed_id, p.response, p.reasoning
    FROM by_sample
    CROSS JOIN LATERAL (
        SELECT p.seed_id, p.response, p.reasoning, p.verdict FROM samples p
        WHERE p.workspace_id = :workspace_id AND p.dataset_id = :dataset_id
          AND p.sample_id >= by_sample.sample_id AND p.sample_id <= by_sample.sample_id
        ORDER BY p.sample_id
        LIMIT 1
    ) AS p
    WHERE p.verdict = 'accepted'
""")

KEY_COLUMNS = ("workspace_id", "dataset_id", "slot", "key", "sample_id")

SampleKey = tuple[int, UUID, int]


@dataclass(frozen=True, slots=True)
class AcceptedText:
    """An accepted sample that shares a key with a new one."""

    seed_id: int
    response: str
    reasoning: str | None

    def text(self, field: TextField) -> str:
        return self.response if field == "response" else self.reasoning or ""


async def insert_attempts(connection: AsyncConnection, pairs: Sequence[tuple[Completion, AttemptRecord]]) -> set[SampleKey]:
    """Store the attempts; returns which were new, by (seed, token, sample index). Those already there stay as they are.

    A completion that moved its lease in this transaction is not looked for: had it been stored before, so had the move.
    """
    doubtful = [completion for completion, attempt in pairs if completion.lease.state is None or attempt.error_class == STALE]
    new = {name_of(completion) for completion, _ in pairs}
    if doubtful:
        rows = await STORABLE_ATTEMPTS.rows(connection, **_names(doubtful))
        new -= {name_of(completion) for completion in doubtful} - {tuple(row) for row in rows}
    await copy_rows(connection, "attempts", ATTEMPT_COLUMNS, [_attempt_row(c, a) for c, a in pairs if name_of(c) in new])
    return new


def name_of(completion: Completion) -> SampleKey:
    """A lease makes at most one attempt a sample, so this names the attempt."""
    return completion.key.seed_id, completion.key.token, completion.sample_index


def _attempt_row(completion: Completion, attempt: AttemptRecord) -> tuple[object, ...]:
    key = completion.key
    return (
        *(key.workspace_id, key.dataset_id, key.seed_id, key.token, completion.sample_index, completion.recipe_revision),
        *(attempt.teacher, attempt.model, "ok" if attempt.error_class is None else "error", attempt.error_class),
        *(attempt.error_text, attempt.finish_reason, attempt.reasoning_seen, attempt.prompt_tokens),
        *(attempt.completion_tokens, attempt.latency_ms, None if attempt.raw is None else attempt.raw[:MAX_RAW_BYTES]),
    )


async def insert_samples(
    connection: AsyncConnection, triples: Sequence[tuple[Completion, AttemptRecord, SampleRecord]]
) -> dict[SampleKey, int]:
    """Store the samples; returns the id of each by (seed, token, sample index)."""
    if not triples:
        return {}
    ids = [row[0] for row in await SAMPLE_IDS.rows(connection, count=len(triples))]
    rows = [_sample_row(sample_id, *triple) for sample_id, triple in zip(ids, triples, strict=True)]
    await copy_rows(connection, "samples", SAMPLE_COLUMNS, rows)
    return {name_of(completion): sample_id for sample_id, (completion, _, _) in zip(ids, triples, strict=True)}


def _sample_row(sample_id: int, completion: Completion, attempt: AttemptRecord, sample: SampleRecord) -> tuple[object, ...]:
    key, reject = completion.key, sample.reject
    return (
        *(key.workspace_id, key.dataset_id, sample_id, key.seed_id, key.token, completion.sample_index),
        *(completion.recipe_revision, attempt.teacher, "accepted" if reject is None else "rejected"),
        *((None, None) if reject is None else (reject.reason, reject.detail)),
        *(sample.reasoning, sample.response, attempt.prompt_tokens, attempt.completion_tokens),
    )


async def find_candidates(
    connection: AsyncConnection, workspace_id: int, dataset_id: int, keys: Sequence[Key]
) -> dict[Key, list[AcceptedText]]:
    """Accepted samples by each key that they share with a new one."""
    found: dict[Key, list[AcceptedText]] = {}
    if not keys:
        return found
    rows = await FIND_CANDIDATES.rows(
        connection,
        workspace_id=workspace_id,
        dataset_id=dataset_id,
        slots=[slot for slot, _ in keys],
        keys=[key for _, key in keys],
    )
    for slots, shared, seed_id, response, reasoning in rows:
        accepted = AcceptedText(seed_id, response, reasoning)
        for key in zip(slots, shared, strict=True):
            found.setdefault(key, []).append(accepted)
    return found


async def insert_keys(connection: AsyncConnection, rows: Sequence[tuple[int, int, Key, int]]) -> None:
    """(workspace, dataset, key, sample id) of accepted samples."""
    if not rows:
        return
    # Distinct, because two checks of one recipe may cut the same key; the sample ids are new, so nothing else conflicts.
    distinct = {(workspace, dataset, slot, key, sample): None for workspace, dataset, (slot, key), sample in rows}
    await copy_rows(connection, "duplicate_keys", KEY_COLUMNS, distinct)


def _names(completions: Sequence[Completion]) -> dict[str, list[object]]:
    return {
        "workspaces": [completion.key.workspace_id for completion in completions],
        "datasets": [completion.key.dataset_id for completion in completions],
        "seeds": [completion.key.seed_id for completion in completions],
        "tokens": [completion.key.token for completion in completions],
        "indices": [completion.sample_index for completion in completions],
    }
