"""Overlap and turns: order is kept, errors come out, nothing is left running."""

from __future__ import annotations

import asyncio

import pytest

from app.seeds.storing import Overlap, Turns


class Refused(Exception):
    """What a store may raise."""


async def test_work_is_done_in_order_and_never_two_at_a_time() -> None:
    done: list[int] = []
    running = 0

    async def work(number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        for _ in range(10 - number):
            await asyncio.sleep(0)
        running -= 1
        done.append(number)

    async with Overlap() as storing:
        for number in range(10):
            await storing.start(lambda number=number: work(number))  # type: ignore[misc]  # bound now, not later
    assert done == list(range(10))


async def test_start_does_not_wait_for_what_it_starts() -> None:
    gate = asyncio.Event()
    async with Overlap() as storing:
        await storing.start(gate.wait)  # type: ignore[arg-type]  # its result is not looked at
        await storing.check()
        gate.set()


async def refuse() -> None:
    raise Refused


async def nothing() -> None:
    pass


@pytest.mark.parametrize("by", ["start", "exit"])
async def test_an_error_comes_out_of_the_next_call(by: str) -> None:
    async def run() -> None:
        async with Overlap() as storing:
            await storing.start(refuse)
            if by == "start":
                await storing.start(nothing)
                raise AssertionError

    with pytest.raises(Refused):
        await run()


async def test_check_tells_of_a_failure_before_there_is_more_to_start() -> None:
    async def read_on() -> None:
        async with asyncio.timeout(10), Overlap() as storing:
            await storing.start(refuse)
            while True:
                await asyncio.sleep(0)
                await storing.check()

    with pytest.raises(Refused):
        await read_on()


async def test_a_body_that_breaks_off_leaves_the_store_to_finish_and_its_own_error_to_tell() -> None:
    stored = False

    async def store() -> None:
        nonlocal stored
        await asyncio.sleep(0)
        stored = True
        raise Refused

    async def read() -> None:
        async with Overlap() as storing:
            await storing.start(store)
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await read()
    assert stored


async def test_a_caller_that_is_cancelled_cancels_the_store() -> None:
    started = asyncio.Event()
    ended: list[str] = []

    async def store() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def take() -> None:
        async with Overlap() as storing:
            await storing.start(store)
            await asyncio.Event().wait()

    task = asyncio.create_task(take())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_one_dataset_at_a_time_and_others_meanwhile() -> None:
    turns = Turns()
    async with turns.of(1), turns.of(2):
        assert turns.of(1).locked()
        assert not turns.of(3).locked()
    assert not turns.of(1).locked()
