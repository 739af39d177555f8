"""The breaker: when a replica is left alone, and how it is tried again. The clock is the test's."""

from __future__ import annotations

from tests.teacher.clock import Clock
from workers.teacher.breaker import LONGEST_PAUSE_S, PASSING_IN_A_ROW, Breaker


def test_a_fault_opens_it_and_one_probe_closes_it() -> None:
    """1, 2, 4 … 30 s, jittered by a quarter; faults of the same wave count once."""
    clock = Clock()
    breaker = Breaker(clock)
    clock.now = 1.0
    pause = breaker.failed(0.0, "connect: refused")
    assert pause is not None
    assert 0.75 <= pause <= 1.25
    assert breaker.failed(0.5, "connect: refused") is None
    assert (breaker.allows(), breaker.words) == (False, "connect: refused")
    clock.now += 2.0
    assert breaker.allows()
    breaker.began(clock.now)
    assert not breaker.allows()
    second = breaker.failed(clock.now, "connect: refused")
    breaker.ended(clock.now)
    assert second is not None
    assert 1.5 <= second <= 2.5
    clock.now += 100
    breaker.began(clock.now)
    breaker.answered(clock.now)
    breaker.ended(clock.now)
    assert (breaker.troubled, breaker.allows(), breaker.words) == (False, True, None)


def test_the_pause_has_a_limit() -> None:
    """However often it fails."""
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(12):
        clock.now += 100
        last = breaker.failed(clock.now, "connect: refused")
    assert last is not None
    assert last <= LONGEST_PAUSE_S * 1.25


def test_an_older_call_that_ends_is_not_the_probe() -> None:
    """A second probe may not start because a call from before the fault came back."""
    clock = Clock()
    breaker = Breaker(clock)
    breaker.began(0.0)
    clock.now = 1.0
    breaker.failed(1.0, "x")
    clock.now = 10.0
    breaker.began(10.0)
    breaker.ended(0.0)
    assert not breaker.allows()


def test_an_answer_to_an_older_call_does_not_close_it() -> None:
    """It says nothing of what came after."""
    clock = Clock()
    breaker = Breaker(clock)
    clock.now = 1.0
    breaker.failed(0.5, "x")
    breaker.answered(0.0)
    assert breaker.troubled


def test_many_passing_faults_in_a_row_open_it() -> None:
    """One answer between them, and they do not."""
    clock = Clock()
    breaker = Breaker(clock)
    for number in range(PASSING_IN_A_ROW - 1):
        clock.now = number
        assert breaker.stumbled(clock.now, "x") is None
    breaker.answered(clock.now)
    for number in range(PASSING_IN_A_ROW - 1):
        assert breaker.stumbled(clock.now + number, "x") is None
    assert breaker.stumbled(clock.now + 1, "x") is not None
    assert breaker.troubled
