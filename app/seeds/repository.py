"""Seeds and uploads: one statement stores a batch of seeds with its queue entries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import LOOKUP_PLANS
from app.seeds.parse import ParsedSeed

# The seed and its lease row are born together: an acknowledged seed is always in the queue.
# A dataset that was cancelled meanwhile takes nothing more: its row is locked against that.
ENQUEUE = text("""
    WITH dataset AS (
        SELECT FROM datasets
        WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND state <> 'cancelled'
        FOR SHARE
    ), new AS (
        INSERT INTO seeds (workspace_id, dataset_id, content_hash, instruction, input, reference, metadata, upload_id, upload_line)
        SELECT :workspace_id, :dataset_id, u.content_hash, u.instruction, u.input, u.reference, CAST(u.metadata AS jsonb), :upload_id, u.line
        FROM dataset, unnest(CAST(:hashes AS bytea[]), CAST(:instructions AS text[]), CAST(:inputs AS text[]), CAST(:references AS text[]),
                    CAST(:metadata AS text[]), CAST(:lines AS bigint[]))
             WITH ORDINALITY AS u (content_hash, instruction, input, reference, metadata, line, position)
        ORDER BY u.position
        ON CONFLICT (workspace_id, content_hash) DO NOTHING
        RETURNING seed_id
    ), queued AS (
        INSERT INTO leases (workspace_id, dataset_id, seed_id)
        SELECT :workspace_id, :dataset_id, seed_id FROM new ORDER BY seed_id
    )
    SELECT count(*) AS queued, (SELECT count(*) FROM dataset) AS open FROM new
""")

# After a cut-off upload with the same Idempotency-Key: what that one stored is ours, not a duplicate.
# LATERAL with LIMIT, and planned as a look-up: as a join, while the table had no statistics, it read the whole
# dataset for every seed (docs/decisions/0003). The dataset is in the hash.
STORED_BEFORE = text("""
    SELECT count(*)
    FROM unnest(CAST(:hashes AS bytea[]), CAST(:lines AS bigint[])) AS u (content_hash, line),
    LATERAL (
        SELECT upload_id, upload_line FROM seeds
        WHERE workspace_id = :workspace_id AND content_hash = u.content_hash
        LIMIT 1
    ) AS s
    WHERE s.upload_id = :upload_id AND s.upload_line = u.line
""")

OPEN_UPLOAD = text("""
    INSERT INTO uploads (workspace_id, dataset_id, idempotency_key) VALUES (:workspace_id, :dataset_id, :key)
    ON CONFLICT DO NOTHING RETURNING upload_id
""")
FIND_UPLOAD = text("""
    SELECT upload_id, answer::text AS answer, digest, coalesce(busy_until > now(), false) AS busy FROM uploads
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND idempotency_key = :key
    FOR UPDATE
""")
TOUCH_UPLOAD = text("""
    UPDATE uploads SET busy_until = now() + make_interval(secs => :busy_s)
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND upload_id = :upload_id
""")
CLOSE_UPLOAD = text("""
    UPDATE uploads SET status = :status, answer = CAST(:answer AS jsonb), digest = :digest, busy_until = NULL
    WHERE workspace_id = :workspace_id AND dataset_id = :dataset_id AND upload_id = :upload_id AND answer IS NULL
""")
# Uploads into one dataset take turns batch by batch: two that insert the same seeds in different
# orders would otherwise wait for each other in a circle.
# The second lock lets a pause or cancel in between (app/datasets/repository.py).
TAKE_TURN = text("""
    SELECT pg_advisory_xact_lock(-CAST(:workspace_id AS int), hashint8(:dataset_id)),
           pg_advisory_xact_lock_shared(CAST(:dataset_id AS bigint))
""")
BUSY_S = 60


@dataclass(frozen=True, slots=True)
class EarlierUpload:
    """`answer` and `digest` are None where it never finished."""

    upload_id: int
    answer: dict[str, Any] | None
    digest: bytes | None
    busy: bool


class SeedRepository:
    """Seeds of one dataset, on one connection; the caller owns the transaction."""

    def __init__(self, connection: AsyncConnection, workspace_id: int, dataset_id: int) -> None:
        self._connection = connection
        self._dataset = {"workspace_id": workspace_id, "dataset_id": dataset_id}

    def _own_hashes(self, seeds: Sequence[ParsedSeed]) -> list[bytes]:
        """The seeds' content hashes within this dataset."""
        salt = self._dataset["dataset_id"].to_bytes(8, "little")
        return [hashlib.blake2b(seed.content_hash, digest_size=16, key=salt).digest() for seed in seeds]

    async def enqueue(self, upload_id: int, seeds: Sequence[ParsedSeed]) -> int | None:
        """Store and queue what is new; returns how many. None: the dataset is gone or cancelled."""
        await self._connection.execute(TAKE_TURN, self._dataset)
        row = (
            await self._connection.execute(
                ENQUEUE,
                {
                    **self._dataset,
                    "upload_id": upload_id,
                    "hashes": self._own_hashes(seeds),
                    "instructions": [seed.instruction for seed in seeds],
                    "inputs": [seed.input for seed in seeds],
                    "references": [seed.reference for seed in seeds],
                    "metadata": [seed.metadata for seed in seeds],
                    "lines": [seed.line for seed in seeds],
                },
            )
        ).one()
        return int(row.queued) if row.open else None

    async def stored_before(self, upload_id: int, seeds: Sequence[ParsedSeed]) -> int:
        """How many of these an earlier, cut-off try of the same upload has stored."""
        await self._connection.execute(LOOKUP_PLANS)
        result = await self._connection.execute(
            STORED_BEFORE,
            {
                "workspace_id": self._dataset["workspace_id"],
                "upload_id": upload_id,
                "hashes": self._own_hashes(seeds),
                "lines": [seed.line for seed in seeds],
            },
        )
        return int(result.scalar_one())

    async def open_upload(self, key: str | None) -> int | None:
        """A new upload's id, or None if the key was used before."""
        upload_id: int | None = (await self._connection.execute(OPEN_UPLOAD, {**self._dataset, "key": key})).scalar()
        return upload_id

    async def find_upload(self, key: str) -> EarlierUpload:
        """The upload of that key."""
        row = (await self._connection.execute(FIND_UPLOAD, {**self._dataset, "key": key})).one()
        return EarlierUpload(row.upload_id, orjson.loads(row.answer) if row.answer else None, row.digest, row.busy)

    async def touch_upload(self, upload_id: int, busy_s: float = BUSY_S) -> None:
        """The upload is being read: another POST with its key is refused for a while."""
        await self._connection.execute(TOUCH_UPLOAD, {**self._dataset, "upload_id": upload_id, "busy_s": busy_s})

    async def close_upload(self, upload_id: int, status: int, answer: dict[str, Any], digest: bytes) -> None:
        """Keep what the client is told, for a repeat of the same key; the first answer stays."""
        body = orjson.dumps(answer).decode()
        await self._connection.execute(
            CLOSE_UPLOAD, {**self._dataset, "upload_id": upload_id, "status": status, "answer": body, "digest": digest}
        )
