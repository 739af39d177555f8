"""The pool: turns, replicas, recalls; against simulated servers over real HTTP."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.teachers.config import Teacher
from bench.simulated_vllm import Behaviour, Fault, FaultKind, Simulated, running
from workers.teacher.errors import Recalled, TeacherError, TimedOut, WrongModel
from workers.teacher.pool import TeacherPool
from workers.teacher.types import ChatRequest, Reply

REQUEST = ChatRequest(messages=({"role": "user", "content": "Say something."},), parameters={})


def teacher_of(*simulated: Simulated, **fields: object) -> Teacher:
    return Teacher.model_validate({"urls": [each.url for each in simulated], "model": "simulated", **fields})


async def until(condition: object, patience_s: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_no_more_than_the_limit_are_in_flight_and_the_first_to_ask_goes_first() -> None:
    """Whatever the level says; the others wait for their turn."""
    async with running(Behaviour(latency_s=0.05)) as simulated, TeacherPool(teacher_of(simulated), 3) as pool:
        order: list[int] = []

        async def call(number: int) -> None:
            await pool.generate(REQUEST)
            order.append(number)

        tasks = [asyncio.create_task(call(number)) for number in range(12)]
        await until(lambda: simulated.stats.in_flight == 3)
        assert pool.room() == 0
        await asyncio.gather(*tasks)
    assert simulated.stats.running_peak == 3
    assert [number // 3 for number in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert pool.in_flight == 0


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    """Nobody waits for ever behind it, and no place is lost."""
    async with running(Behaviour(latency_s=0.1)) as simulated, TeacherPool(teacher_of(simulated), 1) as pool:
        tasks = [asyncio.create_task(pool.generate(REQUEST)) for _ in range(4)]
        await until(lambda: simulated.stats.in_flight == 1)
        tasks[1].cancel()
        tasks[2].cancel()
        await asyncio.wait_for(tasks[3], 5)
        await asyncio.wait_for(tasks[0], 5)
    assert (pool.in_flight, simulated.stats.requests) == (0, 2)


async def test_calls_go_to_the_least_loaded_replica() -> None:
    """Two alike get about the same; with one five times as slow, the quick one gets most."""
    async with (
        running(Behaviour(latency_s=0.02)) as quick,
        running(Behaviour(latency_s=0.2)) as slow,
        TeacherPool(teacher_of(quick, slow, start_in_flight=8), 16) as pool,
    ):
        await asyncio.gather(*(pool.generate(REQUEST, affinity=number) for number in range(200)))
    assert quick.stats.requests + slow.stats.requests == 200
    assert quick.stats.requests > 2 * slow.stats.requests > 0


async def test_the_samples_of_a_seed_go_to_one_replica_while_that_is_not_fuller() -> None:
    """Their prompt is in its prefix cache."""
    async with running(Behaviour()) as one, running(Behaviour()) as other, TeacherPool(teacher_of(one, other), 64) as pool:
        for _ in range(10):
            await pool.generate(REQUEST, affinity=7)
    assert sorted([one.stats.requests, other.stats.requests]) == [0, 10]


async def test_an_outage_of_one_replica_costs_only_its_own_calls() -> None:
    """The breaker opens after the first fault; every later call goes to the other."""
    async with (
        running(Behaviour(latency_s=0.01)) as well,
        running(Behaviour(faults=(Fault(FaultKind.HTTP_503),))) as ill,
        TeacherPool(teacher_of(well, ill, start_in_flight=4), 8) as pool,
    ):
        calls = (pool.generate(REQUEST, affinity=number) for number in range(100))
        results = await asyncio.gather(*calls, return_exceptions=True)
        statuses = {status["url"]: status for status in pool.status()["replicas"]}
    failed = [result for result in results if isinstance(result, TeacherError)]
    assert 1 <= len(failed) <= 4
    assert sum(isinstance(result, Reply) for result in results) == 100 - len(failed)
    assert "overloaded" in statuses[ill.url]["fault"]
    assert statuses[well.url]["fault"] is None


async def test_a_recalled_group_is_hung_up_on_and_others_go_on() -> None:
    """In flight or waiting; the server is told by the closed connection, as vLLM is."""
    async with running(Behaviour(latency_s=0.5)) as simulated, TeacherPool(teacher_of(simulated), 4) as pool:
        tasks = [asyncio.create_task(pool.generate(REQUEST, group=number % 2)) for number in range(8)]
        await until(lambda: simulated.stats.in_flight == 4)
        assert pool.recall(1) == 4
        results = await asyncio.gather(*tasks, return_exceptions=True)
        recalled = [result for result in results if isinstance(result, Recalled)]
        assert [isinstance(result, Reply) for result in results] == [True, False] * 4
        assert sorted(result.sent for result in recalled) == [False, False, True, True]
        await until(lambda: simulated.stats.in_flight == 0)
        assert pool.recall(1) == 0


async def test_an_engine_that_stands_still_costs_no_more_than_the_idle_time() -> None:
    """VLLM's own count of tokens does not move while calls are in flight: they are ended as time-outs."""
    hanging = Behaviour(faults=(Fault(FaultKind.HANG),))
    async with running(hanging) as simulated, TeacherPool(teacher_of(simulated, token_idle_timeout_s=1.0), 4) as pool:
        with pytest.raises(TimedOut, match="generated nothing for 1 s"):
            await asyncio.wait_for(pool.generate(REQUEST), 10)
    assert pool.in_flight == 0


async def test_another_model_than_the_one_asked_for_is_a_fault_of_the_teacher() -> None:
    """Unless the teacher's settings say that it may."""
    async with running(Behaviour(faults=(Fault(FaultKind.WRONG_MODEL),))) as simulated:
        async with TeacherPool(teacher_of(simulated), 4) as pool:
            with pytest.raises(WrongModel, match="another-model"):
                await pool.generate(REQUEST)
            assert pool.troubled
        async with TeacherPool(teacher_of(simulated, check_model=False), 4) as pool:
            assert (await pool.generate(REQUEST)).model == "another-model"


async def test_the_level_and_why_it_moved_and_the_prefix_cache_are_shown() -> None:
    """From what the server says of itself."""
    behaviour = Behaviour(latency_s=0.3, capacity=4)
    request = ChatRequest(messages=({"role": "user", "content": "The same long beginning. " * 40},), parameters={})
    async with running(behaviour) as simulated, TeacherPool(teacher_of(simulated, start_in_flight=40), 64) as pool:
        await until(lambda: pool.replicas[0].load is not None)
        await asyncio.gather(*(pool.generate(request) for _ in range(80)))
        [status] = pool.status()["replicas"]
    assert status["level"] < 40
    assert "in vLLM (" in status["level_reason"]
    assert 0 < status["prefix_hits"] <= status["prefix_queries"]


async def test_without_metrics_the_throughput_steers() -> None:
    """A server that is no vLLM is asked for its load now and then, and works all the same."""
    async with running(Behaviour()) as simulated, AsyncExitStack() as stack:
        simulated.behaviour = Behaviour()
        pool = await stack.enter_async_context(TeacherPool(teacher_of(simulated), 64))
        pool.replicas[0].load = None
        [status] = pool.status()["replicas"]
        assert (status["steered_by"], status["running"]) == ("throughput", None)
        assert (await pool.generate(REQUEST)).content
