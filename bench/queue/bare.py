"""The same minimal work in bare SQL: two tables of its own, asyncpg and nothing else."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID, uuid4

import asyncpg

SCHEMA = """
    DROP SCHEMA IF EXISTS bare CASCADE;
    CREATE SCHEMA bare;
    CREATE TABLE bare.leases (seed_id bigint PRIMARY KEY, state text NOT NULL DEFAULT 'queued', token uuid, worker_id uuid)
        WITH (fillfactor = 80);
    CREATE INDEX ON bare.leases (seed_id) WHERE state = 'queued';
    CREATE TABLE bare.samples (sample_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seed_id bigint NOT NULL, body text NOT NULL);
    CREATE TABLE bare.attempts (attempt_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, seed_id bigint NOT NULL, raw bytea NOT NULL)
        WITH (toast_tuple_target = 4080);
    INSERT INTO bare.leases (seed_id) SELECT generate_series(1, {seeds});
"""
CLAIM = """
    UPDATE bare.leases l SET state = 'leased', token = gen_random_uuid(), worker_id = $1
    FROM (SELECT seed_id FROM bare.leases WHERE state = 'queued' ORDER BY seed_id LIMIT $2 FOR UPDATE SKIP LOCKED) AS p
    WHERE l.seed_id = p.seed_id RETURNING l.seed_id, l.token
"""
SAMPLE = "INSERT INTO bare.samples (seed_id, body) SELECT * FROM unnest($1::bigint[], $2::text[])"
ATTEMPT = "INSERT INTO bare.attempts (seed_id, raw) SELECT * FROM unnest($1::bigint[], $2::bytea[])"
DONE = """
    UPDATE bare.leases l SET state = 'done', token = NULL, worker_id = NULL
    FROM unnest($1::bigint[], $2::uuid[]) AS u (seed_id, token) WHERE l.seed_id = u.seed_id AND l.token = u.token
"""


async def drain(dsn: str, seeds: int, connections: int, batch: int, bodies: list[str], raws: list[bytes]) -> float:
    """Rows a second; `raws` empty stores no attempts."""
    async with asyncpg.create_pool(dsn, min_size=connections, max_size=connections) as pool:
        async with pool.acquire() as connection:
            await connection.execute(SCHEMA.format(seeds=seeds))
            await connection.execute("CHECKPOINT")

        async def work() -> None:
            worker_id: UUID = uuid4()
            async with pool.acquire() as connection:
                while rows := await connection.fetch(CLAIM, worker_id, batch):
                    ids = [row["seed_id"] for row in rows]
                    async with connection.transaction():
                        await connection.execute(SAMPLE, ids, [bodies[i % len(bodies)] for i in ids])
                        if raws:
                            await connection.execute(ATTEMPT, ids, [raws[i % len(raws)] for i in ids])
                        await connection.execute(DONE, ids, [row["token"] for row in rows])

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(connections)))
        took = time.perf_counter() - began
        async with pool.acquire() as connection:
            done = await connection.fetchval("SELECT count(*) FROM bare.leases WHERE state = 'done'")
            stored = await connection.fetchval("SELECT count(*) FROM bare.samples")
            await connection.execute("DROP SCHEMA bare CASCADE")
        assert done == stored == seeds, (done, stored)
    return seeds / took
