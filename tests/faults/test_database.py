"""Postgres that crashes, ends connections, has none left, or has no room left on its disk."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import asyncpg
import pytest

from bench.simulated_vllm import Behaviour
from tests.faults.scene import Scene, staged
from tests.faults.servers import Postgres, fill_up, give_to, small_disk

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def crash(postgres: Postgres, scene: Scene, times: int) -> None:
    """`pg_ctl stop -m immediate` and start, that many times; between two of them something gets stored."""
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.0, 0.3))  # somewhere in the middle of things
        with scene.watch.outage():
            await postgres.stop("immediate")
            await postgres.start()
            await scene.fault_ended()
            await scene.recovered()
            polls = scene.watch.polls
            await scene.until(lambda seen=polls: scene.watch.polls > seen)  # type: ignore[misc]


@pytest.mark.parametrize("times", [2, pytest.param(10, marks=[pytest.mark.long, pytest.mark.timeout(120)])])
async def test_postgres_crashes_under_load(postgres: Postgres, dsn: str, repeat: int, times: int) -> None:
    """No call is repeated: what was generated is kept until the database is back, and nobody is called dead meanwhile."""
    async with (
        staged(dsn, Behaviour(latency_s=1.0, jitter_s=0.5), seeds=100 + 150 * times) as scene,
        scene.worker(),
        scene.worker(),
    ):
        await scene.done(20)
        await crash(postgres, scene, times)
        finding = await scene.verdict(f"Postgres crashes {times} times")
    assert finding.wasted == 0


async def test_connections_are_terminated_every_100_ms(dsn: str, repeat: int) -> None:
    """A random one of the workers' and of the API's, for three seconds, while seeds are pushed: no acknowledged seed is lost."""
    async with (
        staged(dsn, Behaviour(latency_s=0.3, jitter_s=0.2), seeds=300) as scene,
        scene.connection() as connection,
        scene.worker(),
        scene.worker(),
    ):
        await scene.done(20)
        with scene.watch.outage():
            for _ in range(30):
                await connection.execute(
                    f"SELECT pg_terminate_backend(pid) FROM (SELECT pid {OTHERS} ORDER BY random() LIMIT 1) AS one"
                )
                pushing = asyncio.create_task(scene.push_persistently(5))
                await asyncio.sleep(0.1)
                await pushing
            await scene.fault_ended()
            await scene.recovered()
        finding = await scene.verdict("pg_terminate_backend every 100 ms for 3 s")
    assert finding.wasted == 0


async def hog(dsn: str) -> list[asyncpg.Connection]:
    """Every connection that the server has left, those for superusers too."""
    taken = []
    with contextlib.suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(dsn))
    return taken


async def test_max_connections_reached(dsn: str, repeat: int) -> None:
    """The workers lose theirs and get none for two seconds; they wait, and lose nothing."""
    async with (
        staged(dsn, Behaviour(latency_s=0.4), seeds=200) as scene,
        scene.connection() as connection,
        scene.worker(),
        scene.worker(),
    ):
        await scene.done(20)
        with scene.watch.outage():
            taken = []
            for _ in range(20):
                await connection.execute(f"SELECT pg_terminate_backend(pid) {OTHERS} AND application_name LIKE 'limbeck%'")
                taken += await hog(dsn)
                await asyncio.sleep(0.1)
            assert await connection.fetchval(f"SELECT count(*) {OTHERS} AND application_name = 'limbeck-worker'") == 0
            for each in taken:
                each.terminate()
            await scene.fault_ended()
            await scene.recovered()
        finding = await scene.verdict("max_connections reached for 2 s")
    assert finding.wasted == 0


async def test_the_disk_is_full(postgres: Postgres, tmp_path: Path, repeat: int) -> None:
    """A tablespace with no byte left: answers are kept, and stored when there is room; nothing is generated twice."""
    try:
        async with small_disk(tmp_path / "disk", size_mb=60) as disk:
            give_to(disk, postgres.user)
            await postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            try:
                async with postgres.database("TABLESPACE small") as name:
                    await _fill_and_free(postgres.dsn(name), disk)
            finally:
                await postgres.execute("DROP TABLESPACE small")
    except PermissionError as exc:
        pytest.skip(str(exc))


async def _fill_and_free(dsn: str, disk: Path) -> None:
    async with staged(dsn, Behaviour(latency_s=0.3), seeds=300) as scene, scene.worker():
        await scene.done(20)
        ballast = fill_up(disk)
        with scene.watch.outage():
            # What fits into pages that are there already still goes through.
            await scene.stalled(2.0)
            ballast.unlink()
            await scene.fault_ended()
            await scene.recovered()
        finding = await scene.verdict("disk full for 2 s")
    assert finding.wasted == 0
