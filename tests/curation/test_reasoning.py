"""reasoning: the trace is there, and is long enough."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.curation.candidate import Candidate, Reject
from app.curation.reasoning import Reasoning


def judge(reasoning: str | None, min_words: int = 1) -> Reject | None:
    return Reasoning(check="reasoning", min_words=min_words).judge(Candidate("Why?", "", reasoning, "Because."))


@pytest.mark.parametrize("reasoning", [None, "", " \n\t"])
def test_missing_and_blank_reasoning_is_rejected(reasoning: str | None) -> None:
    assert judge(reasoning) == Reject("reasoning", "there is no reasoning")


def test_one_word_is_enough_by_default() -> None:
    assert judge("Therefore.") is None


@pytest.mark.parametrize(("words", "kept"), [(4, False), (5, True)])
def test_min_words_is_inclusive(words: int, kept: bool) -> None:
    assert (judge(" ".join(["so"] * words), min_words=5) is None) is kept


def test_short_reasoning_is_told_both_numbers() -> None:
    assert judge("one two", min_words=5) == Reject("reasoning", "the reasoning has 2 words, fewer than 5")


def test_missing_reasoning_is_rejected_even_with_a_limit_of_zero() -> None:
    assert judge(None, min_words=0) is not None


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_words"):
        Reasoning(check="reasoning", min_words=-1)
