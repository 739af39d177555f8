"""`--processes`: several workers under one process."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from app.database import Database
from tests.support.processes import process, simulated_env, simulated_teacher, worker_env
from tests.support.stack import serving, teachers_of
from workers.processes import divide


@pytest.mark.parametrize(("total", "count"), [(256, 2), (10, 3), (1024, 7)])
def test_the_parts_add_up(total: int, count: int) -> None:
    """And differ by one at most."""
    parts = divide(total, count)
    assert (len(parts), sum(parts)) == (count, total)
    assert max(parts) - min(parts) <= 1


async def test_two_processes_share_the_work_and_one_that_is_killed_is_started_again(dsn: str, database: Database) -> None:
    """Every seed is done; SIGTERM to the keeper ends them all."""
    async with simulated_teacher("--latency-s", "0.1") as url, serving(database, teachers_of(url)) as client:
        env = worker_env(dsn, simulated_env(url), LIMBECK_WORKER_PROCESSES="2")
        async with process("workers", **env) as keeper:
            await client.create()
            await client.push("d", [{"instruction": f"Say something of number {number}."} for number in range(400)])
            async with asyncio.timeout(30):
                while len(await alive(client)) < 2:
                    await asyncio.sleep(0.05)
            victim = psutil.Process(keeper.pid).children()[0]
            os.kill(victim.pid, signal.SIGKILL)
            view = await client.until("idle")
            async with asyncio.timeout(30):
                while len(psutil.Process(keeper.pid).children()) < 2:
                    await asyncio.sleep(0.05)
            children = psutil.Process(keeper.pid).children()
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert view["samples"]["accepted"] == 400


async def alive(client: object) -> set[str]:
    from tests.support.stack import Client

    assert isinstance(client, Client)
    page = (await client.http.get("/metrics")).text
    return {line for line in page.splitlines() if line.startswith("limbeck_worker_loop_lag_seconds{")}


async def test_a_configuration_that_does_not_work_ends_the_keeper(dsn: str) -> None:
    """Status 2, as for one worker; nothing is started again and again."""
    async with process("workers", LIMBECK_DATABASE_URL=dsn, LIMBECK_WORKER_PROCESSES="2") as keeper:
        assert await asyncio.wait_for(keeper.wait(), 30) == 2
