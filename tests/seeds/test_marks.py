"""Runs of combining marks: refused where they would take minutes to normalise, taken where people write them."""

from __future__ import annotations

import itertools
import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import FieldError
from app.seeds.marks import MAX_MARKS, has_long_run
from app.seeds.parse import MAX_LINE_BYTES, ParsedSeed, RawItem, parse_item


@given(
    st.lists(st.tuples(st.integers(0, MAX_MARKS), st.sampled_from("aé日"))), st.text("\u0300\u0316\u0f73", max_size=MAX_MARKS)
)
def test_runs_up_to_the_limit_are_none_wherever_they_stand(runs: list[tuple[int, str]], last: str) -> None:
    assert not has_long_run("".join("\u0300" * length + base for length, base in runs) + last)


@given(st.integers(0, 400), st.integers(1, 300), st.sampled_from(["", "a", "日a"]))
def test_a_longer_run_is_found_wherever_it_stands(before: int, more: int, after: str) -> None:
    assert has_long_run("x" * before + "\u0316" * (MAX_MARKS + more) + after)


def test_every_character_that_normalises_to_marks_alone_counts() -> None:
    """What decomposes into marks lengthens the run that normalisation sorts."""
    characters = (chr(code) for code in itertools.chain(range(0xD800), range(0xE000, 0x110000)))
    for character in characters:
        if all(map(unicodedata.combining, unicodedata.normalize("NFD", character))):
            assert has_long_run(character * (MAX_MARKS + 1)), f"{ord(character):x}"


@pytest.mark.parametrize("field", ["instruction", "input", "output"])
def test_a_line_full_of_marks_is_refused_by_field(field: str) -> None:
    """As long as a line may be: without the check this test would run for minutes."""
    marks = "a" + "\u0300\u0316" * ((MAX_LINE_BYTES - 200) // 4)
    (made,) = parse_item(RawItem(7, orjson.dumps({"instruction": "x", field: marks})))
    assert isinstance(made, FieldError)
    assert (made.line, made.field) == (7, field)
    assert "combining marks" in made.error


def test_marks_as_people_write_them_are_taken() -> None:
    """Decomposed Vietnamese, pointed Hebrew, and decorated text."""
    text = unicodedata.normalize("NFD", "Tiếng Việt ") * 50 + "שָׁלוֹם " * 50 + "z" + "\u0300\u0316" * 30
    (made,) = parse_item(RawItem(1, orjson.dumps({"instruction": text})))
    assert isinstance(made, ParsedSeed)
    assert made.instruction == unicodedata.normalize("NFC", text)
