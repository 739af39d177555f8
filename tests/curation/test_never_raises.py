"""No string makes a check raise, and none makes it slow: a megabyte is judged in under two seconds."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.curation.candidate import Candidate
from app.curation.check import Check
from app.curation.duplicates import fingerprints
from app.curation.registry import CurationStep, default_curation
from app.curation.truncation import Truncation

CHECKS: tuple[type[Check], ...] = get_args(get_args(CurationStep)[0])
NAMES = [get_args(kind.model_fields["check"].annotation)[0] for kind in CHECKS]
LIMIT_S = 2.0
MEGABYTE = 1_000_000

ANY_TEXT = st.text(st.characters())  # lone surrogates among them
MARKED_UP = st.lists(
    st.sampled_from(
        [
            "```",
            "````",
            "~~~",
            "\n",
            " ",
            "   ",
            "- ",
            "1.",
            "I",
            "'m",
            "sorry",
            ", but",
            "I can't",
            " help",
            "As an AI",
            "\0",
            "\ud800",
        ]
    )
).map("".join)

HOSTILE = {
    "one character": "a" * MEGABYTE,
    "one word": "a " * (MEGABYTE // 2),
    "white space": " " * MEGABYTE,
    "zero width": "\u200b" * MEGABYTE,
    "right to left": "\u202e" + "שלום עולם " * (MEGABYTE // 10),
    "combining": "e" + "\u0301" * MEGABYTE,
    "NUL": "\0" * MEGABYTE,
    "lines": "\n" * 100_000,
    "distinct lines": "\n".join(f"this is line {n}" for n in range(60_000)),
    "same lines": "the same line\n" * (MEGABYTE // 14),
    "apostrophes": "'" * MEGABYTE,
    "greetings": "hello " * (MEGABYTE // 6),
    "refusals": "I can't help. " * (MEGABYTE // 14),
    "half refusals": "I am sorry sorry, " * (MEGABYTE // 18),
    "list markers": "1.\n" * (MEGABYTE // 3),
    "digits": "1" * MEGABYTE,
    "many code points": "".join(chr(0x4E00 + n % 20_000) for n in range(MEGABYTE // 3)),
    "dotted I": "İ" * (MEGABYTE // 2),
    "nested fences": "\n".join("`" * n for n in range(3, 1400)),
    "backticks": "`" * MEGABYTE,
}
OPEN_FENCES = {
    "fences": "```\n" * (MEGABYTE // 4),
    "opened fences": "```x\n" * (MEGABYTE // 5),
}


def candidate(text: str) -> Candidate:
    return Candidate(text[:1000], "", text, text)


def seconds(check: Check, text: str) -> float:
    started = time.perf_counter()
    check.judge(candidate(text))
    return time.perf_counter() - started


@pytest.mark.parametrize("kind", CHECKS, ids=NAMES)
@given(text=ANY_TEXT | MARKED_UP)
@settings(deadline=None)
def test_a_check_keeps_or_rejects_under_its_own_name_on_any_text(kind: type[Check], text: str) -> None:
    check = kind.model_validate({"check": get_args(kind.model_fields["check"].annotation)[0]})
    reject = check.judge(candidate(text))
    assert reject is None or (reject.reason == check.check and reject.detail)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("kind", CHECKS, ids=NAMES)
def test_a_hostile_megabyte_is_judged_in_time(kind: type[Check], text: str) -> None:
    check = kind.model_validate({"check": get_args(kind.model_fields["check"].annotation)[0]})
    assert seconds(check, text) < LIMIT_S


@pytest.mark.parametrize("text", OPEN_FENCES.values(), ids=OPEN_FENCES.keys())
def test_a_megabyte_of_fences_is_judged_in_time(text: str) -> None:
    """A quarter of the usual limit, so that quadratic time shows on a fast machine too; 16 MiB may arrive."""
    assert seconds(Truncation(check="truncation"), text) < LIMIT_S / 4


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_megabyte_is_fingerprinted_in_time(text: str) -> None:
    """Shingles and MinHash run in the worker's loop, before the store."""
    started = time.perf_counter()
    fingerprints(default_curation("native"), Candidate("i", "", None, text), 1)
    assert time.perf_counter() - started < LIMIT_S


@given(ANY_TEXT.map(lambda text: text.encode("utf-8", "replace").decode()), st.integers(0, 2**62))
@settings(deadline=None)
def test_fingerprints_take_any_text_that_the_parser_lets_through(text: str, seed_id: int) -> None:
    """Lone surrogates never reach them: parsing replaces those."""
    steps = default_curation("none")
    made = fingerprints(steps, Candidate("i", "", None, text), seed_id)
    assert bool(made) is bool(text.split())
