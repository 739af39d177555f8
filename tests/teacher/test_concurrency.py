"""The level: where it goes and why. A model engine answers; the clock is the test's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.teacher.clock import Clock
from workers.teacher.concurrency import FRESH_S, Concurrency
from workers.teacher.engine_load import EngineLoad

POLL_S = 0.5


def steer(clock: Clock, concurrency: Concurrency, engine: Callable[[int], EngineLoad], polls: int) -> list[float]:
    """So many polls with every place taken; the levels."""
    levels = []
    for _ in range(polls):
        clock.now += POLL_S
        in_flight = int(concurrency.level)
        concurrency.began(in_flight)
        concurrency.polled(engine(in_flight), in_flight)
        levels.append(concurrency.level)
    return levels


def engine_of(slots: int) -> Callable[[int], EngineLoad]:
    """Runs as many as it has slots; the rest waits."""
    return lambda calls: EngineLoad(
        running=min(calls, slots), waiting=max(0, calls - slots), kv_use=min(calls, slots) / slots * 0.9
    )


@pytest.mark.parametrize("start", [1, 8, 100, 2048])
@pytest.mark.parametrize("slots", [4, 64, 256, 1000])
def test_it_finds_the_engines_slots_from_below_and_from_above(start: int, slots: int) -> None:
    """Within 40 polls every slot is used, and about a tenth more waits; then it stays there."""
    clock = Clock()
    concurrency = Concurrency(clock, start=start, most=4096)
    steer(clock, concurrency, engine_of(slots), 40)
    for level in steer(clock, concurrency, engine_of(slots), 200):
        assert slots <= level <= max(1.25 * slots, slots + 4)


def test_it_never_leaves_its_bounds() -> None:
    """One at least, `most` at most."""
    clock = Clock()
    concurrency = Concurrency(clock, start=8, most=32)
    assert steer(clock, concurrency, engine_of(1000), 20)[-1] == 32
    swamped = EngineLoad(running=1, waiting=100_000)
    assert steer(clock, concurrency, lambda _calls: swamped, 20)[-1] >= 1


def test_a_short_burst_of_waiting_prompts_is_no_queue() -> None:
    """VLLM takes a few steps to admit many new prompts; only what waits at two polls running counts."""
    clock = Clock()
    concurrency = Concurrency(clock, start=64, most=64)
    loads = iter([EngineLoad(20, 44), EngineLoad(64, 0), EngineLoad(20, 44), EngineLoad(64, 0)])
    assert steer(clock, concurrency, lambda _calls: next(loads), 4) == [64.0] * 4


def test_an_idle_worker_does_not_raise_its_level() -> None:
    """Few calls say nothing of what the engine could bear."""
    clock = Clock()
    concurrency = Concurrency(clock, start=32, most=1024)
    for _ in range(10):
        clock.now += POLL_S
        concurrency.began(3)
        concurrency.polled(EngineLoad(3, 0), 3)
    assert concurrency.level == 32


def test_preemptions_lower_it_and_it_waits_before_it_rises() -> None:
    """Down to 0.85 of what runs, once in three seconds; more preemptions at once change nothing, and no doubling follows."""
    clock = Clock()
    concurrency = Concurrency(clock, start=100, most=1000)
    steer(clock, concurrency, lambda _calls: EngineLoad(100, 0, 0.9), 1)
    steer(clock, concurrency, lambda _calls: EngineLoad(100, 3, 1.0, preemptions=5), 1)
    assert "preempts" in concurrency.reason
    steer(clock, concurrency, lambda _calls: EngineLoad(100, 3, 1.0, preemptions=9), 3)
    assert concurrency.level == pytest.approx(200 * 100 / 103 * 0.85)
    after = steer(clock, concurrency, lambda _calls: EngineLoad(100, 0, 0.8, preemptions=9), 20)
    assert after == [concurrency.level] * 20
    later = steer(clock, concurrency, lambda _calls: EngineLoad(100, 0, 0.8, preemptions=9), 10)
    assert after[-1] < later[-1] < after[-1] * 1.1**10


def test_a_full_kv_cache_holds_it() -> None:
    """Nothing waits yet, but the next request would cost one that runs."""
    clock = Clock()
    concurrency = Concurrency(clock, start=16, most=1000)
    assert steer(clock, concurrency, lambda calls: EngineLoad(calls, 0, 0.97), 5)[-1] == 16
    assert "KV cache is full" in concurrency.reason


def test_two_workers_on_one_engine_share_it() -> None:
    """One starts with everything; both see the same queue, and come to about equal parts."""
    clock = Clock()
    workers = [Concurrency(clock, start=start, most=2048) for start in (8, 512)]
    for _ in range(600):
        clock.now += POLL_S
        calls = [int(worker.level) for worker in workers]
        load = engine_of(256)(sum(calls))
        for worker, in_flight in zip(workers, calls, strict=True):
            worker.began(in_flight)
            worker.polled(load, in_flight)
    few, many = sorted(worker.level for worker in workers)
    assert 256 <= few + many <= 330
    assert many <= 1.5 * few


def test_a_refusal_lowers_it_to_what_was_kept() -> None:
    """Twenty in flight, twelve refused one by one: eight are kept; it creeps up from there."""
    clock = Clock()
    concurrency = Concurrency(clock, start=20, most=1000)
    for number, in_flight in enumerate(range(20, 8, -1)):
        concurrency.refused(in_flight, first_of_wave=number == 0)
    assert concurrency.level == 8
    assert steer(clock, concurrency, lambda calls: EngineLoad(calls, 0), 4)[-1] <= 14


def test_calls_that_time_out_together_lower_it_once() -> None:
    """All of a wave began before the first of them was seen to time out."""
    clock = Clock()
    concurrency = Concurrency(clock, start=100, most=1000)
    clock.now = 50.0
    for _ in range(64):
        concurrency.timed_out(0.0)
    assert concurrency.level == pytest.approx(70)


def test_without_metrics_it_climbs_to_the_knee_from_below_and_from_above() -> None:
    """Throughput grows up to 100 in flight and is flat beyond; what it settles at gives 97 % of the best."""
    for start in (8, 2048):
        clock = Clock()
        concurrency = Concurrency(clock, start=start, most=4096)
        levels = answer(clock, concurrency, knee=100, waves=120)
        settled = levels[-60:]
        rates = [min(level, 100) for level in settled]
        assert sum(rates) / len(rates) >= 97, (start, settled)
        assert sum(settled) / len(settled) <= 260, (start, settled)


def test_metrics_that_fall_silent_hand_over_to_the_throughput() -> None:
    """After ten seconds."""
    clock = Clock()
    concurrency = Concurrency(clock, start=8, most=64)
    steer(clock, concurrency, engine_of(1000), 1)
    assert concurrency.steered_by == "metrics"
    clock.now += FRESH_S + 1
    assert concurrency.steered_by == "throughput"


def answer(clock: Clock, concurrency: Concurrency, *, knee: int, waves: int) -> list[float]:
    """Every place is taken, and each wave takes as long as Little's law says; the level before each."""
    levels = []
    for _ in range(waves):
        levels.append(concurrency.level)
        level = int(concurrency.level)
        began = clock.now
        clock.now += max(level, knee) / knee * 2.0
        for _ in range(level):
            concurrency.began(level)
            concurrency.answered(began, 50)
    return levels
