"""A teacher that is away, overloaded, or answers in every wrong way at once; and connections closed under the client's hands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench.simulated_vllm import Behaviour, Fault, FaultKind
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, staged


def teachers_file(folder: Path, url: str, timeout_s: float = 900.0) -> Path:
    path = folder / "teachers.toml"
    path.write_text(f'[teachers.default]\nurls = ["{url}"]\nmodel = "simulated"\ntimeout_s = {timeout_s}\n')
    return path


def port_of(scene: Scene) -> int:
    return int(scene.teacher.url.rpartition(":")[2])


@pytest.mark.parametrize("down_s", [5, pytest.param(120, marks=[pytest.mark.long, pytest.mark.timeout(240)])])
async def test_a_teacher_that_is_down_is_waited_for(dsn: str, tmp_path: Path, repeat: int, down_s: int) -> None:
    """Nobody listens, and calls in flight are reset: no seed fails, few connections are tried, and work goes on by itself."""
    async with (
        staged(dsn, Behaviour(latency_s=0.3), seeds=80) as scene,
        Proxy(port_of(scene)) as between,
        scene.worker(teachers=teachers_file(tmp_path, f"http://127.0.0.1:{between.port}")),
    ):
        await scene.done(20)
        # What the teacher was writing at the reset was served.
        scene.explained += scene.teacher.stats.in_flight
        await between.refuse()
        await asyncio.sleep(down_s)
        await between.listen()
        await scene.fault_ended(patience_s=60)
        finding = await scene.verdict(f"teacher down for {down_s} s", patience_s=120)
    assert finding.attempts["connect"] <= 40


async def test_a_storm_of_503s(dsn: str, repeat: int) -> None:
    """Two seconds of nothing but 503: in the end at most 1.2 requests a success."""
    async with staged(dsn, Behaviour(latency_s=0.1), seeds=220) as scene, scene.worker():
        await scene.done(20)
        scene.teacher.behaviour = Behaviour(latency_s=0.1, faults=(Fault(FaultKind.HTTP_503),))
        await asyncio.sleep(2)
        scene.teacher.behaviour = Behaviour(latency_s=0.1)
        await scene.fault_ended()
        finding = await scene.verdict("503 for 2 s")
    assert finding.calls <= 1.2 * len(scene.pushed)
    assert finding.attempts["overloaded"] == finding.wasted > 0


KINDS = (
    FaultKind.HANG,
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_MID_BODY,
    FaultKind.TRUNCATED_JSON,
    FaultKind.SLOW_DRIP,
    FaultKind.BIG_BODY,
    FaultKind.HTML_200,
    FaultKind.WRONG_MODEL,
    FaultKind.EMPTY_CHOICES,
    FaultKind.ABORT,
)


async def test_every_fault_at_once(dsn: str, tmp_path: Path, repeat: int) -> None:
    """Spread over a run, two calls each: every call that the teacher saw is an attempt with its class, and every seed is done."""
    faults = tuple(Fault(kind, match=f"{number}5.", first_n=2) for number, kind in enumerate(KINDS))
    async with (
        staged(dsn, Behaviour(latency_s=0.1, faults=faults), seeds=300) as scene,
        scene.worker(teachers=teachers_file(tmp_path, scene.teacher.url, timeout_s=1.5)),
    ):
        finding = await scene.verdict("hang, RST, cut JSON, drip, 50 MB, HTML, wrong model, no choices, abort: all at once")
    assert scene.teacher.stats.by_fault == {kind.value: 2 for kind in KINDS}
    assert finding.attempts == {
        "ok": 300,
        "timeout": 4,  # hang, drip
        "connection_lost": 4,  # RST before the answer, and in the middle of it
        "bad_reply": 8,  # cut JSON, 50 MB, HTML, no choices
        "aborted": 2,
        "wrong_model": 2,
    }
    assert finding.calls == finding.attempts.total()


@pytest.mark.parametrize(
    "calls", [500, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(180)])], ids=["500", "10000"]
)
async def test_connections_closed_after_every_answer(dsn: str, repeat: int, calls: int) -> None:
    """The server closes right behind every answer: no call is wasted on a closed connection, nothing is charged to a seed."""
    behaviour = Behaviour(latency_s=0.02, jitter_s=0.02, faults=(Fault(FaultKind.CLOSE_KEEPALIVE),))
    async with staged(dsn, behaviour, seeds=calls, curation=[{"check": "length", "min_chars": 1}]) as scene:
        async with scene.worker():
            finding = await scene.verdict(f"server closes after every answer, {calls} calls", patience_s=150)
        async with scene.connection() as connection:
            assert await connection.fetchval("SELECT max(tries) FROM leases") == 1
    assert finding.wasted <= 0.01 * calls
