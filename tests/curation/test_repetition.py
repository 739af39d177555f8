"""repetition: loops are rejected; refrains, tables and code that repeat a little are kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.curation.candidate import Candidate, Reject
from app.curation.repetition import LOOKED_AT_CHARS, Repetition, repeated_line_share, repeated_ngram_share

LOOP = "And then I thought about it once more and came to the same result. "
SONNET = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;"""


def judge(response: str, reasoning: str | None = None, **options: object) -> Reject | None:
    check = Repetition.model_validate({"check": "repetition", **options})
    return check.judge(Candidate("Write.", "", reasoning, response))


def test_a_loop_in_one_line_is_rejected_for_its_ngrams() -> None:
    reject = judge(LOOP * 20)
    assert reject is not None
    assert "10-grams" in reject.detail


def test_a_loop_of_lines_is_rejected_for_its_lines() -> None:
    reject = judge(f"{LOOP}\n" * 20)
    assert reject is not None
    assert "repeated lines" in reject.detail


def test_a_loop_in_the_reasoning_is_rejected() -> None:
    reject = judge("Four.", LOOP * 20)
    assert reject is not None
    assert "of the reasoning" in reject.detail


def test_reasoning_is_passed_over_where_only_the_response_is_named() -> None:
    assert judge("Four.", LOOP * 20, on=["response"]) is None


def test_fewer_than_min_words_are_never_rejected() -> None:
    assert judge("no " * 29) is None


def test_min_words_is_inclusive() -> None:
    assert judge("no " * 30) is not None


@pytest.mark.parametrize(
    "text",
    [
        SONNET,
        "\n".join(f"| {n} | {n * n} | {n * n * n} |" for n in range(60)),
        "".join(f"if x == {n}:\n    return\nelse:\n    pass\n" for n in range(40)),
        "\n".join(f"{n} bottles of beer on the wall, {n} bottles of beer. Take one down." for n in range(99, 80, -1)),
        "def area(w, h):\n    return w * h\n\n\n" + "\n".join(f"assert area({n}, 2) == {n * 2}" for n in range(40)),
    ],
)
def test_poems_tables_and_code_are_kept(text: str) -> None:
    assert judge(text) is None


def test_a_chorus_sung_twice_is_kept() -> None:
    verses = "\n".join(f"Verse {n} tells of another town and of people number {n} in it." for n in range(12))
    assert judge(f"{verses}\n{SONNET}\n{verses[::-1]}\n{SONNET}") is None


def test_a_share_at_the_limit_is_kept() -> None:
    text = "\n".join(["a line that is said twice here"] * 2)
    assert repeated_line_share(text) == 0.5
    assert judge(text, max_line_share=0.5, max_ngram_share=1.0, min_words=0) is None


def test_short_lines_are_not_counted_as_repeated() -> None:
    assert repeated_line_share("}\n}\n}\n}\nelse:\nelse:\n") == 0.0


def test_lines_are_compared_without_their_indentation() -> None:
    assert repeated_line_share("repeated line\n    repeated line") == 0.5


def test_overlapping_ngrams_count_each_word_once() -> None:
    """Ten equal words hold the 3-gram eight times; all but the first word repeats one."""
    assert repeated_ngram_share(["na"] * 10, 3) == 0.9


def test_a_repeated_phrase_counts_by_its_words() -> None:
    assert repeated_ngram_share(list("abcdxabcyz"), 3) == 0.3


def test_fewer_words_than_n_repeat_nothing() -> None:
    assert repeated_ngram_share(["na"] * 5, 10) == 0.0


def test_the_beginning_decides_however_long_the_text_is() -> None:
    unlike = " ".join(str(n) for n in range(40_000))
    assert len(unlike) > LOOKED_AT_CHARS
    assert judge(f"{unlike} {LOOP * 5000}") is None


@given(st.lists(st.sampled_from("abc")), st.integers(min_value=2, max_value=5))
@settings(deadline=None)
def test_the_ngram_share_is_that_of_brute_force(words: list[str], n: int) -> None:
    """Words lying in an n-gram that began earlier too, marked one by one."""
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    covered = {start + step for start, gram in enumerate(grams) if gram in grams[:start] for step in range(n)}
    assert repeated_ngram_share(words, n) == pytest.approx(len(covered) / len(words) if words else 0.0)


@given(st.text())
@settings(deadline=None)
def test_the_line_share_lies_between_none_and_all(text: str) -> None:
    assert 0.0 <= repeated_line_share(text) < 1.0
