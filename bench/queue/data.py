"""What the benchmark works on: a dataset of so many queued seeds, and answers of the wanted size."""

from __future__ import annotations

import random
from dataclasses import dataclass

import asyncpg
import orjson

from app.curation.candidate import Candidate
from app.curation.duplicates import fingerprints
from app.curation.registry import default_curation
from app.queue.repository import RunnableDataset
from workers.completion import AttemptRecord, SampleRecord

SAMPLE_BYTES = 1500
RAW_BYTES = 2048
AT_ONCE = 250_000
VOCABULARY = ["".join(random.Random(number).choices("etaoinshrdlucmfwypvbgk", k=2 + number % 9)) for number in range(4000)]

SEEDS = """
    WITH new AS (
        INSERT INTO seeds (workspace_id, dataset_id, content_hash, instruction, upload_id, upload_line)
        SELECT 1, $1::bigint, decode(md5($1::bigint || ':' || n), 'hex'), 'Say something of number ' || n || '.', 1, n
        FROM generate_series($2::bigint, $3::bigint) AS n
        RETURNING seed_id
    )
    INSERT INTO leases (workspace_id, dataset_id, seed_id) SELECT 1, $1, seed_id FROM new ORDER BY seed_id
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One parsed answer and the call that gave it, without the lease that it will be stored under."""

    attempt: AttemptRecord
    sample: SampleRecord


async def make_dataset(dsn: str, name: str, seeds: int) -> RunnableDataset:
    """A running dataset with that many queued seeds, put there by the server itself."""
    connection = await asyncpg.connect(dsn)
    dataset_id = await connection.fetchval(
        "INSERT INTO datasets (workspace_id, name) VALUES (1, $1) RETURNING dataset_id", name
    )
    await connection.execute(
        "INSERT INTO recipes (workspace_id, dataset_id, revision, body, hash) VALUES (1, $1, 1, $2::text::jsonb, 'bench')",
        dataset_id,
        '{"teacher": "default"}',
    )
    for first in range(1, seeds + 1, AT_ONCE):
        await connection.execute(SEEDS, dataset_id, first, min(first + AT_ONCE - 1, seeds))
    await connection.close()
    return RunnableDataset(1, dataset_id, 1, "default")


async def forget(dsn: str, dataset: RunnableDataset) -> None:
    """All tables empty again, so that no case sees what an earlier one left."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("TRUNCATE duplicate_keys, samples, attempts, leases, seeds")
    await connection.execute("DELETE FROM datasets WHERE dataset_id = $1", dataset.dataset_id)
    await connection.execute("CHECKPOINT")
    await connection.close()


def answers(count: int, *, keys: bool, seed: int = 0) -> list[Answer]:
    """Different answers: reasoning and response of 1.5 KB together, a raw reply of 2 KB; with the default duplicate keys or none."""
    pick = random.Random(seed)
    return [_answer(pick, keys=keys) for _ in range(count)]


def _answer(pick: random.Random, *, keys: bool) -> Answer:
    words = pick.choices(VOCABULARY, k=SAMPLE_BYTES // 5)
    content = " ".join(words)[:SAMPLE_BYTES]
    reasoning, response = content[: SAMPLE_BYTES // 2], content[SAMPLE_BYTES // 2 :]
    candidate = Candidate("i", "", reasoning, response)
    prints = fingerprints(default_curation("native"), candidate, 0) if keys else ()
    message = {"role": "assistant", "content": response, "reasoning": reasoning}
    usage = {"prompt_tokens": 31, "completion_tokens": 320}
    reply = {
        "id": f"chatcmpl-{pick.getrandbits(128):032x}",
        "model": "teacher",
        "choices": [{"message": message}],
        "usage": usage,
    }
    raw = orjson.dumps(reply)
    raw = orjson.dumps({**reply, "system_fingerprint": "f" * (RAW_BYTES - len(raw) - 25)})
    attempt = AttemptRecord(
        "default",
        1200,
        model="teacher",
        finish_reason="stop",
        reasoning_seen="native",
        prompt_tokens=31,
        completion_tokens=320,
        raw=raw,
    )
    return Answer(attempt, SampleRecord(reasoning, response, None, prints))
