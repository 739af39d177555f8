"""length: limits in characters and words, on either field."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.curation.candidate import Candidate
from app.curation.length import Length


def candidate(response: str, reasoning: str | None = None) -> Candidate:
    return Candidate("Say it.", "", reasoning, response)


def test_the_default_keeps_a_single_character() -> None:
    assert Length(check="length").judge(candidate("7")) is None


def test_the_default_rejects_white_space_alone() -> None:
    reject = Length(check="length").judge(candidate(" \n\t "))
    assert reject is not None
    assert reject.reason == "length"


@pytest.mark.parametrize(("chars", "kept"), [(4, False), (5, True), (10, True), (11, False)])
def test_character_limits_are_inclusive(chars: int, kept: bool) -> None:
    check = Length(check="length", min_chars=5, max_chars=10)
    assert (check.judge(candidate("é" * chars)) is None) is kept


@pytest.mark.parametrize(("words", "kept"), [(1, False), (2, True), (3, True), (4, False)])
def test_word_limits_are_inclusive(words: int, kept: bool) -> None:
    check = Length(check="length", min_words=2, max_words=3)
    assert (check.judge(candidate("  ".join(["word"] * words))) is None) is kept


def test_a_character_is_a_code_point_not_a_byte() -> None:
    assert Length(check="length", max_chars=1).judge(candidate("\N{GRINNING FACE}")) is None


def test_outer_white_space_does_not_count() -> None:
    assert Length(check="length", max_chars=2).judge(candidate("\n\n ok \n\n")) is None


def test_zero_sets_no_lower_limit() -> None:
    assert Length(check="length", min_chars=0).judge(candidate("")) is None


def test_absent_reasoning_is_left_to_the_reasoning_check() -> None:
    assert Length(check="length", on="reasoning", min_chars=10).judge(candidate("An answer.", None)) is None


def test_short_reasoning_is_rejected() -> None:
    reject = Length(check="length", on="reasoning", min_chars=10).judge(candidate("An answer.", "Hm."))
    assert reject is not None
    assert reject.detail == "reasoning has 3 characters, fewer than 10"


def test_the_detail_names_the_limit_that_was_passed() -> None:
    reject = Length(check="length", max_words=2).judge(candidate("one two three"))
    assert reject is not None
    assert reject.detail == "response has 3 words, more than 2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_chars": 5, "max_chars": 4}, "min_chars (5) is above max_chars (4)"),
        ({"min_words": 3, "max_words": 2}, "min_words (3) is above max_words (2)"),
    ],
)
def test_limits_that_nothing_could_pass_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Length.model_validate({"check": "length", **options})
    assert words in str(caught.value)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_chars"):
        Length.model_validate({"check": "length", "min_chars": -1})
