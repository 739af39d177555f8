"""Parsing seeds: the accepted shapes, and errors that name the line, the field and the mend."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import FieldError
from app.seeds.parse import MAX_DEPTH, MAX_INSTANCES, ParsedSeed, RawItem, content_hash, parse_item


def parse(value: Any) -> list[ParsedSeed | FieldError]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return list(parse_item(RawItem(7, data)))


def seed(value: Any) -> ParsedSeed:
    (made,) = parse(value)
    assert isinstance(made, ParsedSeed), made
    return made


def error(value: Any) -> FieldError:
    (made,) = parse(value)
    assert isinstance(made, FieldError), made
    assert made.line == 7
    return made


def metadata(value: Any) -> Any:
    kept = seed(value).metadata
    return kept if kept is None else json.loads(kept)


def test_a_seed_needs_no_more_than_an_instruction() -> None:
    made = seed({"instruction": "Add."})
    assert (made.line, made.instruction, made.input, made.reference, made.metadata) == (7, "Add.", "", None, None)


@pytest.mark.parametrize("field", ["reference", "output"])
def test_alpacas_output_is_the_reference(field: str) -> None:
    assert seed({"instruction": "Add.", "input": "1, 2", field: "3"}).reference == "3"


def test_reference_and_output_may_both_stand_if_they_agree() -> None:
    assert seed({"instruction": "Add.", "output": "3", "reference": "3"}).reference == "3"


def test_reference_and_output_that_differ_are_refused() -> None:
    refused = error({"instruction": "Add.", "output": "3", "reference": "4"})
    assert (refused.field, "keep one" in refused.error) == ("reference", True)


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_input_and_output_are_none(empty: str | None) -> None:
    made = seed({"instruction": "Add.", "input": empty, "output": empty})
    assert (made.input, made.reference) == ("", None)


def test_instances_unfold_in_order() -> None:
    made = parse({"instruction": "Add.", "instances": [{"input": "1", "output": "a"}, {"input": "2", "output": "b"}]})
    assert [(one.input, one.reference) for one in made if isinstance(one, ParsedSeed)] == [("1", "a"), ("2", "b")]


def test_a_bad_instance_is_named_and_its_neighbours_kept() -> None:
    good, bad, also_good = parse({"instruction": "Add.", "instances": [{"input": "1"}, {"input": 2}, {"input": "3"}]})
    assert isinstance(good, ParsedSeed)
    assert isinstance(also_good, ParsedSeed)
    assert bad == FieldError("must be a string, not a number", "instances[1].input", 7)


def test_an_instance_that_is_no_object_leaves_its_neighbours() -> None:
    good, bad = parse({"instruction": "Add.", "instances": [{"input": "1"}, 5]})
    assert isinstance(good, ParsedSeed)
    assert bad == FieldError("must be an object, not a number", "instances[1]", 7)


@pytest.mark.parametrize(
    ("instances", "words"),
    [([], "an empty list"), ({}, "an object"), ("x", "a string"), ([{}] * (MAX_INSTANCES + 1), "at most 1000")],
)
def test_instances_of_another_shape_are_refused(instances: Any, words: str) -> None:
    refused = error({"instruction": "Add.", "instances": instances})
    assert refused.field == "instances"
    assert words in refused.error


@pytest.mark.parametrize(
    ("value", "words"), [(None, "missing"), ("", "empty"), (" \n", "empty")], ids=["missing", "empty", "blank"]
)
def test_a_seed_without_an_instruction_is_refused(value: str | None, words: str) -> None:
    refused = error({"input": "1"} if value is None else {"instruction": value})
    assert refused.field == "instruction"
    assert refused.error == f"{words}: every seed needs an instruction"


@pytest.mark.parametrize(
    ("value", "kind"), [(5, "a number"), (1.5, "a number"), (True, "a boolean"), ([], "a list"), ({}, "an object")]
)
@pytest.mark.parametrize("field", ["instruction", "input", "output", "reference"])
def test_a_field_of_another_kind_is_named(field: str, value: Any, kind: str) -> None:
    assert error({"instruction": "Add.", field: value}) == FieldError(f"must be a string, not {kind}", field, 7)


@pytest.mark.parametrize(
    ("value", "kind"), [(5, "a number"), (None, "null"), ([], "a list"), ("x", "a string"), (False, "a boolean")]
)
def test_a_line_that_is_no_object_is_told_the_shape(value: Any, kind: str) -> None:
    assert error(value).error == f'must be an object like {{"instruction": "…"}}, not {kind}'


def test_members_that_are_no_seeds_own_become_metadata() -> None:
    assert metadata({"instruction": "Add.", "id": "t1", "metadata": {"kind": "sum"}}) == {"id": "t1", "kind": "sum"}


def test_given_metadata_wins_over_a_member_of_its_name() -> None:
    assert metadata({"instruction": "Add.", "id": 1, "metadata": {"id": 2}}) == {"id": 2}


def test_empty_metadata_is_none() -> None:
    assert metadata({"instruction": "Add.", "metadata": {}}) is None


def test_metadata_of_another_kind_is_named() -> None:
    assert error({"instruction": "Add.", "metadata": [1]}) == FieldError("must be an object, not a list", "metadata", 7)


def nested(levels: int) -> bytes:
    return b'{"instruction": "Add.", "x": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 1000, 200_000])
def test_deep_metadata_is_refused(levels: int) -> None:
    assert error(nested(levels)).error == f"nested deeper than {MAX_DEPTH} levels: flatten it"


def test_metadata_may_nest_to_the_limit() -> None:
    assert seed(nested(MAX_DEPTH - 2)).metadata is not None


def test_two_deep_references_are_refused() -> None:
    deep = b"[" * 1000 + b"]" * 1000
    assert error(b'{"instruction": "Add.", "reference": ' + deep + b', "output": ' + deep + b"}").field == "reference"


@pytest.mark.parametrize(
    ("member", "field"),
    [
        (b'"input": "a\\u0000b"', "input"),
        (b'"x": "\\u0000"', "metadata"),
        (b'"\\u0000": 1', "metadata"),
        (b'"x": [{"y": "\\u0000"}]', "metadata"),
    ],
)
def test_nul_is_refused_where_it_stands(member: bytes, field: str) -> None:
    refused = error(b'{"instruction": "Add.", ' + member + b"}")
    assert (refused.field, refused.error) == (field, "contains a NUL character (U+0000): remove it")


def test_a_backslash_before_u0000_is_text() -> None:
    assert metadata(b'{"instruction": "Add.", "x": "\\\\u0000"}') == {"x": "\\u0000"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'instruction': 'Add.'}", "not JSON"),
        (b'{"instruction": "Add.",}', "trailing comma"),
        (b'{"instruction": "Add.", "x": NaN}', "NaN is no JSON number; write null"),
        (b'{"instruction": "Add.", "x": -Infinity}', "Infinity is no JSON number; write null"),
        (b'{"instruction": "Add.", "x": 1e999}', "number is infinity"),
        (b'{"instruction": "Add.\xe9"}', "not valid UTF-8 at byte 22 of the line: save the file as UTF-8"),
        (b"\xff\xfe{\0", "not valid UTF-8 at byte 1 of the line"),
        (b'{"instruction": "\\ud800"}', "a lone surrogate"),
    ],
)
def test_what_is_no_json_is_explained(data: bytes, words: str) -> None:
    assert words in error(data).error


def test_nan_in_a_text_is_not_blamed_for_a_trailing_comma() -> None:
    assert "trailing comma" in error(b'{"instruction": "What is NaN?",}').error


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (RawItem(7, b"", too_long=True), "longer than 1048576 bytes"),
        (RawItem(7, b"", too_deep=True), "nested deeper"),
        (RawItem(7, b"", broken="cut"), "cut"),
    ],
)
def test_an_item_that_was_not_read_says_why(item: RawItem, words: str) -> None:
    (made,) = parse_item(item)
    assert isinstance(made, FieldError)
    assert words in made.error


def test_text_is_stored_in_unicodes_composed_form() -> None:
    assert seed({"instruction": "cafe\u0301"}).instruction == "caf\u00e9"


def test_seeds_that_differ_in_outer_white_space_are_the_same() -> None:
    assert (
        seed({"instruction": " Add.\n", "input": "1 "}).content_hash == seed({"instruction": "Add.", "input": "1"}).content_hash
    )


def test_text_moved_from_instruction_to_input_is_another_seed() -> None:
    assert content_hash("a b", "") != content_hash("a", "b")


def test_the_reference_is_no_part_of_what_a_seed_is() -> None:
    assert seed({"instruction": "Add.", "output": "3"}).content_hash == seed({"instruction": "Add."}).content_hash


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(["instruction", "input", "output", "reference", "metadata", "instances", "id"])
SEEDISH = st.dictionaries(MEMBERS, JSON | st.lists(st.dictionaries(MEMBERS, JSON, max_size=3), max_size=3), max_size=6)


@given(st.binary() | (JSON | SEEDISH).map(lambda value: json.dumps(value).encode()))
@settings(deadline=None, max_examples=300)
def test_any_line_gives_seeds_or_errors_with_its_number(data: bytes) -> None:
    made = parse_item(RawItem(3, data))
    assert made
    assert {one.line for one in made} == {3}


@given(JSON | SEEDISH)
@settings(deadline=None, max_examples=300)
def test_any_parsed_item_gives_only_what_can_be_stored(value: Any) -> None:
    for made in parse_item(RawItem(3, b"", value=value, parsed=True)):
        if isinstance(made, ParsedSeed):
            text = "".join([made.instruction, made.input, made.reference or "", made.metadata or ""])
            assert text.encode("utf-8")
            assert "\0" not in text
            assert made.instruction.strip()
