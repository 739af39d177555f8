"""The statements that store attempts, samples and their duplicate keys, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from app.curation.candidate import TextField
from app.curation.duplicates import Key
from app.database import HotStatement, given
from workers.completion import MAX_RAW_BYTES, AttemptRecord, Completion, SampleRecord

# The join on seeds drops attempts whose dataset was deleted meanwhile; ON CONFLICT drops what a
# commit with a lost acknowledgement has stored already.
INSERT_ATTEMPTS = HotStatement("""
    INSERT INTO attempts (workspace_id, dataset_id, seed_id, lease_token, sample_index, recipe_revision,
                          teacher, model, outcome, error_class, error_text, finish_reason, reasoning_seen,
                          prompt_tokens, completion_tokens, latency_ms, raw)
    SELECT u.workspace_id, u.dataset_id, u.seed_id, u.token, u.sample_index, u.revision,
           u.teacher, u.model, CASE WHEN u.error_class IS NULL THEN 'ok' ELSE 'error' END, u.error_class, u.error_text,
           u.finish_reason, u.reasoning_seen, u.prompt_tokens, u.completion_tokens, u.latency_ms, u.raw
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]),
                CAST(:tokens AS uuid[]), CAST(:indices AS smallint[]), CAST(:revisions AS int[]),
                CAST(:teachers AS text[]), CAST(:models AS text[]), CAST(:error_classes AS text[]),
                CAST(:error_texts AS text[]), CAST(:finish_reasons AS text[]), CAST(:reasoning_seen AS text[]),
                CAST(:prompt_tokens AS int[]), CAST(:completion_tokens AS int[]), CAST(:latencies AS int[]),
                CAST(:raws AS bytea[]))
         WITH ORDINALITY
         AS u (workspace_id, dataset_id, seed_id, token, sample_index, revision, teacher, model, error_class,
               error_text, finish_reason, reasoning_seen, prompt_tokens, completion_tokens, latency_ms, raw, position)
    CROSS JOIN LATERAL (
        SELECT FROM seeds s
        WHERE s.workspace_id = u.workspace_id AND s.dataset_id = u.dataset_id AND s.seed_id = u.seed_id
        LIMIT 1
    ) AS s
    ORDER BY u.position
    ON CONFLICT (workspace_id, dataset_id, seed_id, lease_token, sample_index) DO NOTHING
    RETURNING seed_id, lease_token, sample_index
""")

INSERT_SAMPLES = HotStatement("""
    INSERT INTO samples (workspace_id, dataset_id, seed_id, lease_token, sample_index, recipe_revision, teacher,
                         verdict, reason, detail, reasoning, response, prompt_tokens, completion_tokens)
    SELECT u.workspace_id, u.dataset_id, u.seed_id, u.token, u.sample_index, u.revision, u.teacher,
           CASE WHEN u.reason IS NULL THEN 'accepted' ELSE 'rejected' END, u.reason, u.detail,
           u.reasoning, u.response, u.prompt_tokens, u.completion_tokens
    FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:seeds AS bigint[]),
                CAST(:tokens AS uuid[]), CAST(:indices AS smallint[]), CAST(:revisions AS int[]),
                CAST(:teachers AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]),
                CAST(:reasonings AS text[]), CAST(:responses AS text[]), CAST(:prompt_tokens AS int[]),
                CAST(:completion_tokens AS int[]))
         WITH ORDINALITY
         AS u (workspace_id, dataset_id, seed_id, token, sample_index, revision, teacher, reason, detail,
               reasoning, response, prompt_tokens, completion_tokens, position)
    ORDER BY u.position
    RETURNING sample_id, seed_id, lease_token, sample_index
""")

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

INSERT_KEYS = HotStatement("""
    INSERT INTO duplicate_keys (workspace_id, dataset_id, slot, key, sample_id)
    SELECT * FROM unnest(CAST(:workspaces AS int[]), CAST(:datasets AS bigint[]), CAST(:slots AS smallint[]),
                         CAST(:keys AS bigint[]), CAST(:samples AS bigint[]))
""")

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
    """Store the attempts; returns which were new, by (seed, token, sample index). Those already there stay as they are."""
    if not pairs:
        return set()
    records = [record for _, record in pairs]
    rows = await INSERT_ATTEMPTS.rows(
        connection,
        **_identity([completion for completion, _ in pairs]),
        teachers=[record.teacher for record in records],
        models=given([record.model for record in records]),
        error_classes=given([record.error_class for record in records]),
        error_texts=given([record.error_text for record in records]),
        finish_reasons=given([record.finish_reason for record in records]),
        reasoning_seen=given([record.reasoning_seen for record in records]),
        prompt_tokens=[record.prompt_tokens for record in records],
        completion_tokens=[record.completion_tokens for record in records],
        latencies=[record.latency_ms for record in records],
        raws=given([None if record.raw is None else record.raw[:MAX_RAW_BYTES] for record in records]),
    )
    return {tuple(row) for row in rows}


async def insert_samples(
    connection: AsyncConnection, triples: Sequence[tuple[Completion, AttemptRecord, SampleRecord]]
) -> dict[SampleKey, int]:
    """Store the samples; returns the id of each by (seed, token, sample index)."""
    if not triples:
        return {}
    samples = [sample for _, _, sample in triples]
    attempts = [attempt for _, attempt, _ in triples]
    rows = await INSERT_SAMPLES.rows(
        connection,
        **_identity([completion for completion, _, _ in triples]),
        teachers=[attempt.teacher for attempt in attempts],
        reasons=given([sample.reject and sample.reject.reason for sample in samples]),
        details=given([sample.reject and sample.reject.detail for sample in samples]),
        reasonings=given([sample.reasoning for sample in samples]),
        responses=[sample.response for sample in samples],
        prompt_tokens=[attempt.prompt_tokens for attempt in attempts],
        completion_tokens=[attempt.completion_tokens for attempt in attempts],
    )
    return {(seed_id, token, index): sample_id for sample_id, seed_id, token, index in rows}


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
    distinct = list(dict.fromkeys(rows))  # two checks of one recipe may cut the same key
    await INSERT_KEYS.rows(
        connection,
        workspaces=[row[0] for row in distinct],
        datasets=[row[1] for row in distinct],
        slots=[row[2][0] for row in distinct],
        keys=[row[2][1] for row in distinct],
        samples=[row[3] for row in distinct],
    )


def _identity(completions: Sequence[Completion]) -> dict[str, list[object]]:
    return {
        "workspaces": [completion.key.workspace_id for completion in completions],
        "datasets": [completion.key.dataset_id for completion in completions],
        "seeds": [completion.key.seed_id for completion in completions],
        "tokens": [completion.key.token for completion in completions],
        "indices": [completion.sample_index for completion in completions],
        "revisions": [completion.recipe_revision for completion in completions],
    }
