"""Connections that lose an answer, hold a COMMIT back, or fall silent: a proxy stands before Postgres or before the teacher."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.database import Database
from bench.simulated_vllm import Behaviour
from tests.faults.proxy import CommitTrap, PostgresProxy, Proxy
from tests.faults.scene import staged
from tests.faults.servers import Postgres
from workers.heartbeat import Heartbeat

STORES = re.compile(rb'(INSERT INTO|COPY) "?samples')
CLAIMS = re.compile(rb"lease_token = gen_random_uuid\(\)")


@pytest.fixture
async def proxy(postgres: Postgres) -> AsyncIterator[PostgresProxy]:
    """Between one worker and Postgres."""
    async with PostgresProxy(postgres.port) as proxy:
        yield proxy


@pytest.mark.parametrize(("statement", "what"), [(STORES, "store"), (CLAIMS, "claim")], ids=["store", "claim"])
async def test_the_acknowledgement_of_a_commit_is_lost(
    postgres: Postgres, proxy: PostgresProxy, name: str, dsn: str, repeat: int, statement: re.Pattern[bytes], what: str
) -> None:
    """Five times: Postgres has committed, the worker only sees a broken connection. No call is repeated."""
    async with staged(dsn, Behaviour(latency_s=0.4), seeds=350) as scene, scene.worker(dsn=postgres.dsn(name, port=proxy.port)):
        await scene.done(20)
        proxy.trap = CommitTrap(statement, passes=True, times=5)
        await scene.until(lambda: proxy.commits_seen == 5)
        await scene.fault_ended()
        finding = await scene.verdict(f"COMMIT of a {what} done, its answer lost, 5 times")
    assert finding.wasted == 0


async def test_kill_9_while_a_commit_is_on_its_way(
    postgres: Postgres, proxy: PostgresProxy, name: str, dsn: str, repeat: int
) -> None:
    """The worker has sent COMMIT, Postgres has not got it: the transaction is rolled back and its seeds are done anew."""
    async with (
        staged(dsn, Behaviour(latency_s=0.3), seeds=250) as scene,
        scene.worker(dsn=postgres.dsn(name, port=proxy.port)) as doomed,
        scene.worker(),
    ):
        await scene.done(20)
        proxy.trap = CommitTrap(STORES, passes=False)
        await asyncio.wait_for(proxy.trap.sprung.wait(), 20)
        held = await scene.kill(doomed)
        proxy.cut()
        await scene.fault_ended(held)
        finding = await scene.verdict("kill -9 with COMMIT on its way")
    assert finding.served_not_stored > 0
    assert finding.wasted <= len(held)


async def test_postgres_falls_silent_until_others_take_over(
    postgres: Postgres, proxy: PostgresProxy, name: str, dsn: str, repeat: int
) -> None:
    """No byte passes, nothing is closed; another worker takes over, and late stores are fenced."""
    async with (
        staged(dsn, Behaviour(latency_s=0.3), seeds=300) as scene,
        scene.worker(dsn=postgres.dsn(name, port=proxy.port)) as cut_off,
        scene.worker(),
    ):
        await scene.done(20)
        proxy.silence(new_ones_too=True)
        held = await scene.held_by(cut_off)
        await scene.wait_for("SELECT count(*) FROM leases WHERE setbacks > 0")
        proxy.resume()
        await scene.fault_ended()
        finding = await scene.verdict("Postgres silent to one worker until its seeds are taken over")
    assert finding.wasted == finding.attempts["stale_lease"]
    assert held


async def test_a_worker_whose_beats_hang_calls_nobody_dead(postgres: Postgres, proxy: PostgresProxy, name: str) -> None:
    """While its heartbeat waits on a silent connection it has not beaten, however long ago it began to."""
    database = Database(postgres.dsn(name, port=proxy.port))
    heartbeat = Heartbeat(database, uuid.uuid4(), lease_s=1.5, interval_s=0.1, in_flight=lambda: 0)
    assert await heartbeat.start(asyncio.Event())
    async with asyncio.timeout(10):
        while heartbeat.steady_for_s() < 1.5:
            await asyncio.sleep(0.02)
    proxy.silence(new_ones_too=True)
    async with asyncio.timeout(2):
        while heartbeat.steady_for_s() > 0:
            await asyncio.sleep(0.02)
    proxy.cut()
    await asyncio.to_thread(heartbeat.stop)
    await database.close()


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_old_connections_to_postgres_never_answer_again(
    postgres: Postgres, proxy: PostgresProxy, name: str, dsn: str, repeat: int
) -> None:
    """As behind a firewall that forgot them: only new ones work. The only worker finds out by itself, within 30 s."""
    async with staged(dsn, Behaviour(latency_s=0.3), seeds=300) as scene, scene.worker(dsn=postgres.dsn(name, port=proxy.port)):
        await scene.done(20)
        proxy.silence(new_ones_too=False)
        began = time.monotonic()
        await scene.stalled(1.0)
        await scene.fault_ended(since=began, patience_s=45)
        finding = await scene.verdict("Postgres silent for ever on the connections there were", patience_s=60)
    assert finding.wasted == 0


async def test_the_teacher_falls_silent(dsn: str, tmp_path: Path, repeat: int) -> None:
    """Calls in flight time out, and are made again when it speaks; no seed fails."""
    async with (
        staged(dsn, Behaviour(latency_s=0.2), seeds=250) as scene,
        Proxy(int(scene.teacher.url.rpartition(":")[2])) as between,
    ):
        teachers = tmp_path / "teachers.toml"
        teachers.write_text(
            f'[teachers.default]\nurls = ["http://127.0.0.1:{between.port}"]\nmodel = "simulated"\ntimeout_s = 1.0\n'
        )
        async with scene.worker(teachers=teachers):
            await scene.done(20)
            between.silence(new_ones_too=True)
            # An answer that was on its way when the bytes stopped was served, and is not stored.
            scene.explained += scene.teacher.stats.in_flight
            await asyncio.sleep(2.5)
            between.resume()
            await scene.fault_ended()
            finding = await scene.verdict("teacher silent for 2.5 s, calls time out after 1 s")
    assert finding.served_not_stored <= finding.attempts["timeout"]
