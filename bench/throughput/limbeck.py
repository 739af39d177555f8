"""Limbeck's whole job: seeds in over the API, a worker process, everything curated and stored in real Postgres."""

from __future__ import annotations

import asyncio

import psutil
from sqlalchemy import text

from app.database import Database
from bench.throughput.cases import Case, Measured
from tests.support.processes import process, simulated_env
from tests.support.stack import serving, teachers_of

# The first call began one latency before the first commit, at the latest.
SPAN = text("""
    SELECT count(*), extract(epoch FROM max(a.created_at) - min(a.created_at - make_interval(secs => latency_ms / 1000.0)))
    FROM attempts a JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name AND outcome = 'ok'
""")
LEFT = text("SELECT count(*) FROM leases WHERE state IN ('queued', 'leased')")


async def limbeck(dsn: str, url: str, case: Case, version: str) -> Measured:
    """From the worker's first call to the last commit; the time to take the seeds in is not counted."""
    database = Database(dsn)
    name = f"bench-{case.name.replace('/', '-').replace('.', '-')}"
    async with serving(database, teachers_of(url)) as client:
        await client.create(name)
        await client.push(name, [{"instruction": f"Say something of number {number}."} for number in range(case.seeds)])
        env = {
            "LIMBECK_DATABASE_URL": dsn,
            "LIMBECK_WORKER_MAX_IN_FLIGHT": str(case.in_flight),
            "LIMBECK_WORKER_PROCESSES": str(case.processes),
            "LIMBECK_LOG_LEVEL": "warning",
            **simulated_env(url),
        }
        async with process("workers", **env) as worker:
            peak = await peak_until_done(database, psutil.Process(worker.pid))
        async with database.begin() as connection:
            count, seconds = (await connection.execute(SPAN, {"name": name})).one()
        view = await client.view(name)
        assert view["seeds"]["done"] == case.seeds == count, view
    await database.close()
    rows = view["samples"]["accepted"]
    workers = "1 worker" if case.processes == 1 else f"{case.processes} worker processes"
    return Measured("Limbeck", version, rows, float(seconds), f"{workers}, peak {peak // 2**20} MB")


async def peak_until_done(database: Database, worker: psutil.Process) -> int:
    """The highest resident size of the worker and its processes together, in bytes, until nothing is queued or leased."""
    peak, left = 0, 1
    while left:
        peak = max(peak, sum(each.memory_info().rss for each in (worker, *worker.children())))
        await asyncio.sleep(0.2)
        async with database.begin() as connection:
            left = (await connection.execute(LEFT)).scalar_one()
    return peak
