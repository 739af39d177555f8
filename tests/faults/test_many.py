"""Many workers at once, and workers that are killed again and again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter

import pytest

from bench.simulated_vllm import Behaviour
from tests.faults.scene import Scene, staged
from tests.support.processes import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


async def claims_of(dsn: str) -> list[int]:
    """The ids that one claiming process leased."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.claimer", dsn, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    assert child.returncode == 0
    return [int(line) for line in out.split()]


async def test_twenty_processes_claim_100_000_seeds(dsn: str) -> None:
    """Each seed by exactly one of them."""
    async with staged(dsn, Behaviour(), seeds=0) as scene:
        for _ in range(10):
            await scene.push(10_000)
        claimed = Counter(seed for mine in await asyncio.gather(*(claims_of(dsn) for _ in range(20))) for seed in mine)
        assert len(claimed) == len(scene.pushed) == 100_000
        assert set(claimed.values()) == {1}
        await scene.watch.settled(30)
        assert scene.watch.seeds("done") == 100_000


async def test_twenty_workers(dsn: str) -> None:
    """Twenty whole worker processes on one dataset ask the teacher once a seed."""
    behaviour = Behaviour(latency_s=0.2, jitter_s=0.2, track_prompts=True)
    async with staged(dsn, behaviour, seeds=3000) as scene, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(scene.worker(LIMBECK_LEASE_S="30", LIMBECK_HEARTBEAT_S="2"))
        finding = await scene.verdict("twenty workers, 3,000 seeds", patience_s=120)
    assert finding.wasted == 0
    assert set(scene.teacher.stats.prompts.values()) == {1}


async def test_workers_are_killed_again_and_again(dsn: str, repeat: int) -> None:
    """One of three dies every second, in the middle of whatever it does, and is started anew; twelve deaths."""
    async with staged(dsn, Behaviour(latency_s=1.0, jitter_s=1.0), seeds=2500) as scene, contextlib.AsyncExitStack() as stack:
        living = [await start(scene, stack) for _ in range(3)]
        await scene.done(20)
        held: set[int] = set()
        for _ in range(12):
            await asyncio.sleep(random.uniform(0.0, 0.5))
            doomed = living.pop(random.randrange(len(living)))
            held |= set(await scene.kill(doomed))
            living.append(await start(scene, stack))
        await scene.fault_ended()
        finding = await scene.verdict("kill -9 of one of three workers, twelve times", patience_s=90)
    assert held
    assert finding.wasted <= finding.explained


async def start(scene: Scene, stack: contextlib.AsyncExitStack) -> asyncio.subprocess.Process:
    return await stack.enter_async_context(scene.worker())
