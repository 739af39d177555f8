"""How the queue holds up: many queued seeds, a long drain with autovacuum on, many finished datasets."""

from __future__ import annotations

import time
from collections.abc import Sequence

import asyncpg

from app.database import Database
from app.queue.repository import QueueRepository
from bench.queue import ours
from bench.queue.data import answers, forget, make_dataset

ROWS_A_SIZE = 10_000
STEPS = 10


async def sizes(dsn: str, all_sizes: Sequence[int], connections: int, batch: int) -> None:
    """The rates of the first 10,000 rows, with so many queued seeds in the tables, never analysed by hand."""
    plain = answers(5000, keys=False)
    print("| queued seeds | claim+complete rows/s | claims alone | completes alone | filled in s |\n|---|---|---|---|---|")
    for size in all_sizes:
        began = time.perf_counter()
        dataset = await make_dataset(dsn, f"size-{size}", size)
        filled = time.perf_counter() - began
        rates = await ours.drain(dsn, dataset, connections, batch, plain, rows=min(size, ROWS_A_SIZE))
        print(f"| {size:,} | {rates.both:.0f} | {rates.claim:.0f} | {rates.complete:.0f} | {filled:.0f} |", flush=True)
        await forget(dsn, dataset)


async def long_drain(dsn: str, seeds: int, connections: int, batch: int, *, old_snapshot: bool) -> None:
    """One dataset from full to empty, in ten parts: does the claim slow down over the dead entries of those before?

    `old_snapshot`: while another session looks at an old instant, as a backup does for hours; nothing dead can be removed.
    """
    plain = answers(5000, keys=False)
    dataset = await make_dataset(dsn, f"drain-{seeds}", seeds)
    connection, backup = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    if old_snapshot:
        await backup.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM datasets")
    print(
        "| done before | rows/s | claims alone | completes alone | dead leases | HOT updates | vacuums |\n|---|---|---|---|---|---|---|"
    )
    for step in range(STEPS):
        rates = await ours.drain(dsn, dataset, connections, batch, plain, rows=seeds // STEPS)
        row = await connection.fetchrow(
            "SELECT n_dead_tup, n_tup_hot_upd, n_tup_upd, autovacuum_count FROM pg_stat_user_tables WHERE relname = 'leases'"
        )
        print(
            f"| {seeds // STEPS * step:,} | {rates.both:.0f} | {rates.claim:.0f} | {rates.complete:.0f} | {row['n_dead_tup']:,}"
            f" | {row['n_tup_hot_upd']:,} of {row['n_tup_upd']:,} | {row['autovacuum_count']} |",
            flush=True,
        )
    await backup.close()
    await connection.close()
    await forget(dsn, dataset)


async def many_datasets(dsn: str, count: int) -> None:
    """How long it takes to find what can be claimed among so many running datasets, of which one has seeds due."""
    dataset = await make_dataset(dsn, "the-live-one", 10_000)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        """
        WITH d AS (INSERT INTO datasets (workspace_id, name) SELECT 1, 'old-' || n FROM generate_series(1, $1::int) AS n
                   RETURNING dataset_id),
             r AS (INSERT INTO recipes (workspace_id, dataset_id, revision, body, hash)
                   SELECT 1, dataset_id, 1, '{"teacher": "default"}', 'bench' FROM d),
             s AS (INSERT INTO seeds (workspace_id, dataset_id, content_hash, instruction, upload_id, upload_line)
                   SELECT 1, dataset_id, decode(md5(dataset_id || ':' || n), 'hex'), 'x', 1, n FROM d, generate_series(1, 100) AS n
                   RETURNING dataset_id, seed_id)
        INSERT INTO leases (workspace_id, dataset_id, seed_id, state) SELECT 1, dataset_id, seed_id, 'done' FROM s
        """,
        count,
    )
    database = Database(dsn, lookups=True)
    print("| running datasets | statistics | runnable() ms |\n|---|---|---|")
    for statistics in ("none", "ANALYZE"):
        if statistics != "none":
            await connection.execute("ANALYZE")
        times = []
        for _ in range(5):
            began = time.perf_counter()
            async with database.begin() as session:
                found = await QueueRepository(session).runnable()
            times.append((time.perf_counter() - began) * 1000)
            assert [each.dataset_id for each in found] == [dataset.dataset_id]
        print(f"| {count:,} | {statistics} | {min(times):.1f} |")
    await database.close()
    await connection.close()
