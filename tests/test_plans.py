"""Query plans: every hot statement finds its rows by its whole key, on empty, never analysed and analysed tables alike.

A prepared statement keeps the plan that it was given while a table was empty, so all three must be right (docs/decisions/0003
and 0004). The pins name each index with the columns that it is entered by: an index that is walked is not a look-up.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import TextClause

from app.database import BEGIN_LOOKUPS, HotStatement
from app.datasets import repository as datasets
from app.queue import statements as queue
from app.samples import repository as samples
from workers.stages import records

DATASETS, SEEDS = 20, 400
FILL = """
    WITH d AS (INSERT INTO datasets (workspace_id, name) SELECT 1, 'd' || n FROM generate_series(1, $1::int) AS n RETURNING dataset_id),
         r AS (INSERT INTO recipes (workspace_id, dataset_id, revision, body, hash)
               SELECT 1, dataset_id, 1, '{"teacher": "default"}', 'h' FROM d),
         s AS (INSERT INTO seeds (workspace_id, dataset_id, content_hash, instruction, upload_id, upload_line)
               SELECT 1, dataset_id, decode(md5(dataset_id || ':' || n), 'hex'), 'x', 1, n FROM d, generate_series(1, $2::int) AS n
               RETURNING dataset_id, seed_id, upload_line AS n),
         l AS (INSERT INTO leases (workspace_id, dataset_id, seed_id, state, lease_token, worker_id)
               SELECT 1, dataset_id, seed_id, CASE n % 4 WHEN 0 THEN 'queued' WHEN 1 THEN 'leased' WHEN 2 THEN 'failed' ELSE 'done' END,
                      CASE n % 4 WHEN 1 THEN gen_random_uuid() END, CASE n % 4 WHEN 1 THEN gen_random_uuid() END FROM s),
         a AS (INSERT INTO attempts (workspace_id, dataset_id, seed_id, lease_token, sample_index, recipe_revision, teacher, outcome, latency_ms)
               SELECT 1, dataset_id, seed_id, gen_random_uuid(), 0, 1, 'default', 'ok', 1 FROM s),
         p AS (INSERT INTO samples (workspace_id, dataset_id, seed_id, lease_token, sample_index, recipe_revision, teacher, verdict, reason,
                                    response, prompt_tokens, completion_tokens)
               SELECT 1, dataset_id, seed_id, gen_random_uuid(), 0, 1, 'default', CASE WHEN n % 5 = 0 THEN 'rejected' ELSE 'accepted' END,
                      CASE WHEN n % 5 = 0 THEN 'length' END, repeat('x', 300), 1, 1 FROM s RETURNING dataset_id, sample_id)
    INSERT INTO duplicate_keys (workspace_id, dataset_id, slot, key, sample_id)
    SELECT 1, dataset_id, slot, sample_id * 7919, sample_id FROM p, generate_series(0, 16) AS slot
"""
DATASET = "workspace_id, dataset_id"
SEED = f"{DATASET}, seed_id"
BY_SEED = f"pk_seeds ({SEED})"
ONE_LEASE = f"pk_leases ({SEED})"
WALK_CLAIMS = f"ix_leases_claim ({DATASET}, not_before)"

# What a worker asks, with its settings.
WORKER: dict[str, tuple[HotStatement | TextClause | str, set[str]]] = {
    "RUNNABLE": (
        queue.RUNNABLE,
        {
            "ix_leases_claim ()",
            f"ix_leases_claim ({DATASET})",
            WALK_CLAIMS,
            f"pk_datasets ({DATASET})",
            f"pk_recipes ({DATASET}, revision)",
            f"pk_spending ({DATASET})",
        },
    ),
    "CLAIM": (queue.CLAIM, {f"pk_datasets ({DATASET})", WALK_CLAIMS, "leases by place", BY_SEED}),
    "LOCK_CURRENT": (queue.LOCK_CURRENT, {ONE_LEASE}),
    "UPDATE": (queue.UPDATE, {ONE_LEASE, "leases by place"}),
    "RELEASE": (queue.RELEASE, {"ix_leases_worker (worker_id)", "leases by place"}),
    "STORABLE_ATTEMPTS": (records.STORABLE_ATTEMPTS, {BY_SEED, f"uq_attempts_lease ({SEED}, lease_token, sample_index)"}),
    "FIND_CANDIDATES": (
        records.FIND_CANDIDATES,
        {f"pk_duplicate_keys ({DATASET}, slot, key)", f"pk_samples ({DATASET}, sample_id)"},
    ),
    # What Postgres asks for the foreign keys of a new attempt or sample, and of a deleted seed.
    "a seed's row": (
        "SELECT 1 FROM ONLY seeds WHERE workspace_id = $1 AND dataset_id = $2 AND seed_id = $3 FOR KEY SHARE",
        {BY_SEED},
    ),
    "cascade to leases": ("DELETE FROM ONLY leases WHERE workspace_id = $1 AND dataset_id = $2 AND seed_id = $3", {ONE_LEASE}),
}
# What the API asks, whose connections plan freely; pinned where there is something to read.
API: dict[str, tuple[HotStatement | TextClause | str, set[str]]] = {
    "ACCEPTED": (samples.ACCEPTED, {f"pk_samples ({DATASET}, sample_id)", BY_SEED, "recipes whole"}),  # twenty rows
    "BOUND": (samples.BOUND, {f"uq_samples_accepted ({DATASET})", f"pk_samples ({DATASET})"}),
    "SAMPLES": (datasets.SAMPLES, {f"uq_samples_accepted ({DATASET})", f"ix_samples_rejected ({DATASET})"}),
    "SEEDS": (datasets.SEEDS, {f"pk_leases ({DATASET})"}),
    "RECENT": (datasets.RECENT, {f"pk_attempts ({DATASET})"}),
}


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    yield connection
    await connection.close()


async def fill(connection: asyncpg.Connection) -> None:
    await connection.execute(FILL, DATASETS, SEEDS)


async def summary(connection: asyncpg.Connection, statement: HotStatement | TextClause | str, *, lookups: bool) -> set[str]:
    """Each way in which the statement's generic plan reads a table: "index (columns entered by)", "t by place" or "t whole"."""
    sql = statement if isinstance(statement, str) else HotStatement(statement.text).sql
    await connection.execute(BEGIN_LOOKUPS if lookups else "BEGIN")
    await connection.execute(f"PREPARE asked AS {sql}")
    count = await connection.fetchval("SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'")
    nulls = ", ".join(["NULL"] * count)
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{f'({nulls})' if nulls else ''}")
    await connection.execute("ROLLBACK; DEALLOCATE asked")
    return {way for node in _nodes(json.loads(plan)[0]["Plan"]) if (way := await _way(connection, node))}


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(inner for child in node.get("Plans", []) for inner in _nodes(child))]


async def _way(connection: asyncpg.Connection, node: dict[str, Any]) -> str | None:
    if "Index Name" in node:
        names = await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) ORDER BY attnum", node["Index Name"]
        )
        words = set(re.findall(r"\w+", re.sub(r"\w+\.(?=\w)", "", node.get("Index Cond", ""))))
        return f"{node['Index Name']} ({', '.join(row['attname'] for row in names if row['attname'] in words)})"
    if node["Node Type"] == "Tid Scan":
        return f"{node['Relation Name']} by place"
    return f"{node['Relation Name']} whole" if node["Node Type"] == "Seq Scan" else None


def _of_growing_tables(ways: set[str]) -> set[str]:
    """Without `datasets`: of a page of them, either of its keys finds one as fast."""
    return {way for way in ways if "_datasets" not in way}


@pytest.mark.parametrize("name", WORKER)
async def test_worker_statements_are_look_ups(connection: asyncpg.Connection, name: str) -> None:
    """Empty; full, with the statistics of an empty table; full and analysed: the same plan."""
    statement, expected = WORKER[name]
    assert await summary(connection, statement, lookups=True) == expected, "empty"
    await connection.execute("VACUUM ANALYZE")
    await fill(connection)
    stale = await summary(connection, statement, lookups=True)
    assert _of_growing_tables(stale) == _of_growing_tables(expected), "full, with the statistics of an empty table"
    await connection.execute("VACUUM ANALYZE")
    assert await summary(connection, statement, lookups=True) == expected, "full and analysed"


@pytest.mark.parametrize("name", WORKER)
async def test_worker_statements_on_tables_that_were_never_analysed(connection: asyncpg.Connection, name: str) -> None:
    """Full, and the planner knows nothing but the size."""
    await fill(connection)
    statement, expected = WORKER[name]
    assert await summary(connection, statement, lookups=True) == expected


@pytest.mark.parametrize("name", API)
async def test_api_statements_on_full_tables(connection: asyncpg.Connection, name: str) -> None:
    """One dataset among twenty is read from the indexes that were made for it."""
    await fill(connection)
    await connection.execute("VACUUM ANALYZE")
    statement, expected = API[name]
    assert await summary(connection, statement, lookups=False) == expected


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("CLAIM", "DROP INDEX ix_leases_claim"),
        ("RUNNABLE", "DROP INDEX ix_leases_claim"),
        ("RELEASE", "DROP INDEX ix_leases_worker"),
        ("UPDATE", "ALTER TABLE leases DROP CONSTRAINT pk_leases"),
        ("STORABLE_ATTEMPTS", "ALTER TABLE attempts DROP CONSTRAINT uq_attempts_lease"),
        ("FIND_CANDIDATES", "ALTER TABLE samples DROP CONSTRAINT pk_samples"),
        ("BOUND", "DROP INDEX uq_samples_accepted"),
        ("SAMPLES", "DROP INDEX ix_samples_rejected"),
    ],
)
async def test_the_pins_notice_a_dropped_index(connection: asyncpg.Connection, name: str, index: str) -> None:
    """Or they would pin nothing."""
    await fill(connection)
    await connection.execute("VACUUM ANALYZE")
    statement, expected = (WORKER | API)[name]
    await connection.execute(index)
    assert await summary(connection, statement, lookups=name in WORKER) != expected
