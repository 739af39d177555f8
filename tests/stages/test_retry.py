"""retry: one test for each row of the table in workers/retry.py, then its mixtures."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.curation.candidate import Reject
from app.datasets.recipe import Recipe
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseKey, LeaseUpdate
from workers.retry import LONGEST_BACKOFF_S, RETRIED_REASONS, backoff_s, resolves, settle, storable
from workers.stages.render import RenderError
from workers.teacher.errors import (
    Aborted,
    BadReply,
    ConnectionLost,
    NotServed,
    Overloaded,
    SeedRefused,
    ServerFailed,
    TeacherError,
    TimedOut,
    Unauthorized,
    Unreachable,
)

RECIPE = Recipe(max_attempts=3)
FAULTS: list[TeacherError] = [Unreachable("f"), Overloaded("f"), Unauthorized("f"), NotServed("f")]
PASSING: list[TeacherError] = [TimedOut("p"), ConnectionLost("p"), ServerFailed("p"), BadReply("p"), Aborted("p")]
BY_CLASS: dict[str, Any] = {"ids": lambda error: error.error_class}


def seed(tries: int = 1, setbacks: int = 0) -> LeasedSeed:
    return LeasedSeed(LeaseKey(1, 1, 1, UUID(int=1)), 1, "i", "", None, {}, tries, setbacks, None)


@pytest.mark.parametrize("failure", FAULTS, **BY_CLASS)
def test_a_teacher_fault_queues_the_seed_at_once_and_uncharged(failure: TeacherError) -> None:
    update = settle(RECIPE, seed(tries=99), [0], [failure])
    assert update == LeaseUpdate("queued", None, charged=False, error_class=failure.error_class, error_text="f")


@pytest.mark.parametrize("failure", FAULTS, **BY_CLASS)
def test_a_teacher_fault_is_never_counted_against_the_seed(failure: TeacherError) -> None:
    assert settle(RECIPE, seed(setbacks=MAX_SETBACKS - 1), [0], [failure]).state == "queued"


@pytest.mark.parametrize("failure", PASSING, **BY_CLASS)
def test_a_passing_fault_queues_the_seed_later_with_a_setback(failure: TeacherError) -> None:
    update = settle(RECIPE, seed(tries=99), [0], [failure])
    assert (update.state, update.charged, update.setback, update.error_class) == ("queued", False, True, failure.error_class)
    assert 0.5 <= update.delay_s <= 1.0


@pytest.mark.parametrize("failure", PASSING, **BY_CLASS)
def test_the_tenth_passing_fault_in_a_row_fails_the_seed(failure: TeacherError) -> None:
    assert settle(RECIPE, seed(setbacks=8), [0], [failure]).state == "queued"
    assert settle(RECIPE, seed(setbacks=9), [0], [failure]) == LeaseUpdate(
        "failed", None, error_class=failure.error_class, error_text="p"
    )


def test_a_refused_seed_fails_with_the_teachers_words() -> None:
    update = settle(RECIPE, seed(), [0], [SeedRefused("HTTP 400: too long")])
    assert update == LeaseUpdate("failed", None, error_class="bad_request", error_text="HTTP 400: too long")


def test_a_seed_that_cannot_be_rendered_fails() -> None:
    update = settle(RECIPE, seed(), [0], [RenderError("no key")])
    assert update == LeaseUpdate("failed", None, error_class="render", error_text="no key")


@pytest.mark.parametrize("reason", ["truncation", "empty", "unfinished", "unclosed_reasoning"])
def test_a_reject_by_chance_leaves_the_sample_open(reason: str) -> None:
    assert not resolves(RECIPE, Reject(reason, ""))


@pytest.mark.parametrize("reason", sorted(RETRIED_REASONS))
def test_a_greedy_teacher_is_not_asked_the_same_again(reason: str) -> None:
    assert resolves(Recipe.model_validate({"sampling": {"temperature": 0}}), Reject(reason, ""))


@pytest.mark.parametrize(
    "reason", ["length", "refusal", "near_duplicate", "leaked_tags", "content_filter", "bad_text", "tool_calls"]
)
def test_every_other_reject_settles_the_sample(reason: str) -> None:
    assert resolves(RECIPE, Reject(reason, ""))


def test_an_accepted_sample_is_settled() -> None:
    assert resolves(RECIPE, None)


def test_an_open_sample_is_queued_again_at_once_and_charged() -> None:
    assert settle(RECIPE, seed(tries=2), [0, 3], []) == LeaseUpdate("queued", (0, 3))


@pytest.mark.parametrize("tries", [3, 4])
def test_after_max_attempts_an_open_sample_is_given_up(tries: int) -> None:
    assert settle(RECIPE, seed(tries=tries), [0], []) == LeaseUpdate("done", ())


def test_a_seed_with_nothing_open_is_done() -> None:
    assert settle(RECIPE, seed(), [], []) == LeaseUpdate("done", ())


@pytest.mark.parametrize("order", [1, -1])
def test_a_refusal_outweighs_passing_and_teacher_faults(order: int) -> None:
    failures = [Overloaded("f"), TimedOut("p"), SeedRefused("r")][::order]
    assert settle(RECIPE, seed(), [0, 1, 2], failures).error_class == "bad_request"


@pytest.mark.parametrize("order", [1, -1])
def test_a_passing_fault_outweighs_a_teacher_fault(order: int) -> None:
    update = settle(RECIPE, seed(), [0, 1], [Overloaded("f"), TimedOut("p")][::order])
    assert (update.error_class, update.setback) == ("timeout", True)


def test_samples_left_open_beside_a_fault_are_asked_for_again_uncharged() -> None:
    """Sample 0 was cut, sample 2 met a fault, sample 1 is settled: both open ones come back, however many tries there were."""
    update = settle(RECIPE, seed(tries=3), [0, 2], [Overloaded("f")])
    assert (update.state, update.open_samples, update.charged) == ("queued", (0, 2), False)


def test_a_failed_seed_keeps_the_samples_that_are_open() -> None:
    """So that a requeue asks for those and not for what is there."""
    assert settle(RECIPE, seed(), [1, 3], [SeedRefused("r")]).open_samples == (1, 3)


@pytest.mark.parametrize(("setbacks", "whole"), [(0, 1), (1, 2), (5, 32), (6, 60), (9, 60), (50, 60)])
def test_backoff_lies_between_half_and_the_whole_of_its_step(setbacks: int, whole: float) -> None:
    delays = [backoff_s(setbacks) for _ in range(200)]
    assert whole / 2 <= min(delays)
    assert max(delays) <= whole <= LONGEST_BACKOFF_S


def test_backoff_is_jittered() -> None:
    assert len({backoff_s(3) for _ in range(20)}) > 1


def test_stored_words_hold_nothing_that_postgres_refuses() -> None:
    assert storable("a\0b\ud800c") == "a\ufffdb?c"


def test_stored_words_are_bounded() -> None:
    assert len(storable("é" * 10_000)) == 4000
