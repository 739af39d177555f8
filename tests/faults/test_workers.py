"""Worker processes that are killed, stopped, told to go, or stuck."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal

import pytest

from bench.simulated_vllm import Behaviour
from tests.faults.scene import LEASE_S, staged, stop

# Every take on these holds up the stores of the dataset, as another worker's store would.
STORE_LOCK = "SELECT pg_advisory_xact_lock(workspace_id, hashint8(dataset_id)) FROM datasets WHERE name = 'd'"


async def test_kill_9_with_200_calls_in_flight(dsn: str, repeat: int) -> None:
    """Every seed that the dead worker held is taken over and done; the calls that died with it are made again."""
    async with (
        staged(dsn, Behaviour(latency_s=1.0, jitter_s=0.4), seeds=0) as scene,
        scene.worker(LIMBECK_WORKER_MAX_IN_FLIGHT="240") as doomed,
        scene.worker(LIMBECK_WORKER_MAX_IN_FLIGHT="200"),
    ):
        await scene.push(600)
        await scene.wait_for("SELECT in_flight >= 220 FROM workers WHERE name LIKE '%:' || $1", str(doomed.pid))
        held = await scene.kill(doomed)
        await scene.fault_ended(held)
        finding = await scene.verdict("kill -9 of a worker, 200 calls in flight")
    assert scene.teacher.stats.aborted >= 200
    assert 200 <= finding.wasted <= len(held)


async def test_kill_9_between_the_reply_and_the_commit(dsn: str, repeat: int) -> None:
    """The replies are in, the store's transaction is open: all of it is generated anew, nothing is stored twice."""
    async with (
        staged(dsn, Behaviour(latency_s=0.3), seeds=300) as scene,
        scene.worker(LIMBECK_WORKER_MAX_IN_FLIGHT="16") as doomed,
        scene.worker(),
    ):
        await scene.done(20)
        async with scene.connection() as connection, connection.transaction():
            await connection.execute(STORE_LOCK)
            served = scene.teacher.stats.completed
            await scene.until(lambda: scene.teacher.stats.completed >= served + 40)
            await scene.wait_for("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            held = await scene.kill(doomed)
        await scene.fault_ended(held)
        finding = await scene.verdict("kill -9 between reply and COMMIT, store waiting for its lock")
    assert finding.served_not_stored > 0


async def test_sigstop_for_two_leases_then_sigcont(dsn: str, repeat: int) -> None:
    """Its seeds are taken over meanwhile; what it then brings is fenced, and counted as `stale_lease` to the last call."""
    async with (
        staged(dsn, Behaviour(latency_s=0.5, jitter_s=0.3), seeds=200) as scene,
        scene.worker() as paused,
        scene.worker(),
    ):
        await scene.done(20)
        stop(paused)
        await scene.fault_ended(await scene.held_by(paused))
        await asyncio.sleep(2 * LEASE_S)
        paused.send_signal(signal.SIGCONT)
        await scene.wait_for("SELECT count(*) FROM attempts WHERE error_class = 'stale_lease'")
        finding = await scene.verdict("SIGSTOP for two leases, then SIGCONT")
    assert finding.wasted == finding.attempts["stale_lease"] > 0


@pytest.mark.parametrize(("drain_s", "case"), [("10", "long enough"), ("0.2", "too short")])
async def test_sigterm_with_calls_in_flight(dsn: str, repeat: int, drain_s: str, case: str) -> None:
    """Drained: no call is repeated. Out of time: given back at once, uncharged, with no lease to wait for."""
    async with (
        staged(dsn, Behaviour(latency_s=0.8, jitter_s=0.7), seeds=200) as scene,
        scene.worker(LIMBECK_DRAIN_S=drain_s) as leaving,
        scene.worker(),
    ):
        await scene.done(10)
        await scene.wait_for("SELECT in_flight >= 20 FROM workers WHERE name LIKE '%:' || $1", str(leaving.pid))
        held = await scene.held_by(leaving)
        await scene.end(leaving)
        async with scene.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM workers") == 1
        finding = await scene.verdict(f"SIGTERM, drain time {case}")
    assert finding.wasted <= (0 if drain_s == "10" else len(held))
    assert finding.served_not_stored == 0 or drain_s == "0.2"


async def test_an_event_loop_blocked_for_three_leases(dsn: str, repeat: int) -> None:
    """The heartbeat's thread keeps the leases, so that a living worker next to it takes nothing over; the lag shows."""
    block_s = 3 * LEASE_S
    async with staged(dsn, Behaviour(latency_s=0.3), seeds=150) as scene:
        odd = scene.worker(module=("tests.faults.odd_worker",), LIMBECK_WORKER_MAX_IN_FLIGHT="16", ODD_BLOCK_S=str(block_s))
        async with odd as blocked, scene.worker(LIMBECK_WORKER_MAX_IN_FLIGHT="4"):
            await scene.done(20)
            blocked.send_signal(signal.SIGUSR1)
            await scene.wait_for("SELECT max(loop_lag_s) > $1 FROM workers", block_s - 1)
            await scene.until(lambda: scene.teacher.stats.in_flight <= 4)
            held = await scene.held_by(blocked)
            assert held
            finding = await scene.verdict("event loop blocked for three leases")
        async with scene.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM leases WHERE setbacks > 0 OR tries <> 1") == 0
    assert finding.wasted == 0


async def test_clocks_two_hours_off(dsn: str, repeat: int) -> None:
    """One worker two hours ahead, one behind: no lease is taken from the living, every moment is the database's."""
    async with staged(dsn, Behaviour(latency_s=0.2), seeds=150) as scene:
        async with scene.connection() as connection:
            began = await connection.fetchval("SELECT now()")
        module = ("tests.faults.odd_worker",)
        async with (
            scene.worker(module=module, ODD_CLOCK_S="7200"),
            scene.worker(module=module, ODD_CLOCK_S="-7200"),
        ):
            await scene.wait_for("SELECT count(*) = 2 FROM workers WHERE beat_at - started_at > interval '2 seconds'")
            await scene.push(100)
            finding = await scene.verdict("worker clocks two hours ahead and behind")
        moments = """
            SELECT min(t) >= $1 AND max(t) <= now() FROM (
                SELECT created_at AS t FROM attempts UNION ALL SELECT created_at FROM samples
                UNION ALL SELECT not_before FROM leases
            ) AS moments
        """
        async with scene.connection() as connection:
            assert await connection.fetchval(moments, began - dt.timedelta(seconds=5))
    assert finding.wasted == 0


@pytest.mark.long
async def test_a_dead_workers_seeds_are_taken_over_by_one_whose_clock_is_ahead(dsn: str, repeat: int) -> None:
    """Rescue by a worker whose clock is two hours ahead takes the dead one's seeds, and not the living one's."""
    async with staged(dsn, Behaviour(latency_s=0.4), seeds=200) as scene:
        ahead = scene.worker(module=("tests.faults.odd_worker",), ODD_CLOCK_S="7200")
        async with scene.worker() as doomed, ahead:
            await scene.done(20)
            held = await scene.kill(doomed)
            await scene.fault_ended(held)
            finding = await scene.verdict("kill -9, rescued by a worker two hours ahead")
    assert finding.wasted <= len(held)
