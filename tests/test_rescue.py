"""Who may call others dead: only a worker that has itself beaten for a whole lease time."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import pytest

from app.database import Database
from tests.support.stack import Client
from tests.test_queue import beat, claim
from workers.heartbeat import Heartbeat
from workers.rescue import rescue_forever


def heartbeat_of(database: Database, lease_s: float) -> Heartbeat:
    return Heartbeat(database, uuid.uuid4(), lease_s=lease_s, interval_s=0.1, in_flight=lambda: 0)


async def test_nobody_is_called_dead_before_the_rescuer_has_beaten_for_a_lease(client: Client, database: Database) -> None:
    """After an outage nobody could beat; who comes back first must not take the seeds of the living."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    await claim(database, await beat(database, ago_s=100))
    heartbeat = heartbeat_of(database, lease_s=1.0)
    rescuing = asyncio.create_task(rescue_forever(database, heartbeat, 0.05))
    await asyncio.sleep(0.3)  # rounds of a rescuer that has not beaten yet
    assert (await client.view())["seeds"]["leased"] == 1
    assert await heartbeat.start(asyncio.Event())
    began = asyncio.get_running_loop().time()
    await client.until("running")
    async with asyncio.timeout(10):
        while (await client.view())["seeds"]["leased"]:
            await asyncio.sleep(0.05)
    assert asyncio.get_running_loop().time() - began >= 0.8
    rescuing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await rescuing
    await asyncio.to_thread(heartbeat.stop)


async def test_a_missed_beat_starts_the_count_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was away for a moment: the rescuer is not steady until a lease time later."""
    heartbeat = heartbeat_of(database, lease_s=30.0)
    assert await heartbeat.start(asyncio.Event())
    await asyncio.sleep(0.5)
    assert heartbeat.steady_for_s() > 0.3
    connect = database.connect
    away = iter([True])

    async def flaky() -> object:
        if next(away, False):
            raise ConnectionRefusedError
        return await connect()

    monkeypatch.setattr(database, "connect", flaky)
    async with database.begin() as connection:
        await connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%INSERT INTO workers%' AND pid <> pg_backend_pid()"
        )
    async with asyncio.timeout(10):
        while heartbeat.steady_for_s() > 0.3:
            await asyncio.sleep(0.02)
        while not heartbeat.steady_for_s():
            await asyncio.sleep(0.02)
    await asyncio.to_thread(heartbeat.stop)
