"""The gate: how many calls a teacher is given. The clock is the test's; waiting is the loop's."""

from __future__ import annotations

import asyncio

from workers.teacher.gate import LONGEST_PAUSE_S, PASSING_IN_A_ROW, Gate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def entered(gate: Gate, count: int) -> list[float]:
    return [await asyncio.wait_for(gate.enter(), 1) for _ in range(count)]


async def test_no_more_than_the_level_are_in_flight() -> None:
    """The next waits until one leaves; the first to wait is the first to go."""
    gate = Gate(Clock(), 3)
    await entered(gate, 3)
    order: list[int] = []

    async def wait(number: int) -> None:
        await gate.enter()
        order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(2)]
    await asyncio.sleep(0.01)
    assert order == []
    gate.leave()
    gate.leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1]
    assert gate.in_flight == 3


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    """Nobody waits for ever behind it."""
    gate = Gate(Clock(), 1)
    await entered(gate, 1)
    first = asyncio.create_task(gate.enter())
    second = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.leave()  # gives the turn to the first
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert gate.in_flight == 1


async def test_a_fault_closes_the_gate_and_one_probe_opens_it() -> None:
    """1, 2, 4 … 30 s, jittered by a quarter; faults of the same wave count once."""
    clock = Clock()
    gate = Gate(clock, 8)
    began = await entered(gate, 3)
    clock.now = 1.0
    pause = gate.failed(began[0])
    assert pause is not None
    assert 0.75 <= pause <= 1.25
    assert gate.failed(began[1]) is None
    for _ in began:
        gate.leave()
    assert gate.room() == 0
    clock.now += 2.0
    assert gate.room() == 1
    [probe] = await entered(gate, 1)
    assert gate.room() == 0
    second = gate.failed(probe)
    gate.leave()
    assert second is not None
    assert 1.5 <= second <= 2.5
    for _ in range(10):
        clock.now += 100
        [probe] = await entered(gate, 1)
        last = gate.failed(probe)
        gate.leave()
    assert last is not None
    assert last <= LONGEST_PAUSE_S * 1.25
    clock.now += 100
    [probe] = await entered(gate, 1)
    gate.answered(probe)
    gate.leave()
    assert not gate.troubled
    assert gate.room() == 8


async def test_an_answer_to_an_older_call_does_not_open_the_gate() -> None:
    """It says nothing of what came after."""
    clock = Clock()
    gate = Gate(clock, 8)
    old, new = await entered(gate, 2)
    clock.now = 1.0
    gate.failed(new)
    gate.answered(old)
    assert gate.troubled


async def test_overload_lowers_the_level_to_what_the_teacher_kept() -> None:
    """Twenty in flight, twelve refused while eight are kept: about eight, without a pause since it answers."""
    clock = Clock()
    gate = Gate(clock, 20)
    began = await entered(gate, 20)
    gate.answered(began[0])
    gate.leave()
    clock.now = 1.0
    for call in began[1:13]:
        gate.failed(call, overloaded=True)
        gate.leave()
    assert not gate.troubled
    assert 6 <= gate.level <= 8


async def test_many_passing_faults_in_a_row_close_the_gate() -> None:
    """One answer between them, and they do not."""
    clock = Clock()
    gate = Gate(clock, 100)
    for number in range(PASSING_IN_A_ROW - 1):
        clock.now = number
        assert gate.stumbled(clock.now) is None
    gate.answered(clock.now)
    for number in range(PASSING_IN_A_ROW - 1):
        assert gate.stumbled(clock.now + number) is None
    assert gate.stumbled(clock.now + 1) is not None
    assert gate.troubled
