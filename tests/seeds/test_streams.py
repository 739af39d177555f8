"""Streams of seeds: however the bytes are cut into chunks, the same items come out, and damage costs only what follows."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.seeds import ndjson
from app.seeds.document import split_document
from app.seeds.ndjson import split_lines
from app.seeds.parse import MAX_DEPTH, MAX_LINE_BYTES, RawItem

Splitter = Callable[[AsyncIterator[bytes]], AsyncIterator[list[RawItem]]]


def items(splitter: Splitter, *chunks: bytes) -> list[RawItem]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collect() -> list[RawItem]:
        return [item async for taken in splitter(stream()) for item in taken]

    return asyncio.run(collect())


def lines(*chunks: bytes) -> list[tuple[int, bytes]]:
    return [(item.line, item.data) for item in items(split_lines, *chunks)]


def values(*chunks: bytes) -> list[Any]:
    return [item.value for item in items(split_document, *chunks)]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def test_lines_are_numbered_from_one() -> None:
    assert lines(b"a\nb\n") == [(1, b"a"), (2, b"b")]


def test_the_last_line_needs_no_newline() -> None:
    assert lines(b"a\nb") == [(1, b"a"), (2, b"b")]


def test_blank_lines_count_but_are_passed_over() -> None:
    assert lines(b"\n \n\r\na\n\n\nb\n") == [(4, b"a"), (7, b"b")]


def test_crlf_ends_a_line() -> None:
    assert [(number, data.strip()) for number, data in lines(b"a\r\nb\r\n")] == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\n"])
def test_nothing_gives_nothing(data: bytes) -> None:
    assert lines(data) == []


def test_a_byte_order_mark_is_taken_off_the_first_line() -> None:
    assert lines(b"\xef", b"\xbb\xbfa\n") == [(1, b"a")]


def test_a_byte_order_mark_further_down_is_left_to_the_parser() -> None:
    assert lines(b"a\n\xef\xbb\xbfb") == [(1, b"a"), (2, b"\xef\xbb\xbfb")]


def test_a_byte_order_mark_alone_is_a_blank_line() -> None:
    assert lines(b"\xef\xbb\xbf\na\n") == [(2, b"a")]


def test_a_line_of_the_greatest_length_is_taken() -> None:
    assert lines(b"x" * MAX_LINE_BYTES + b"\nz") == [(1, b"x" * MAX_LINE_BYTES), (2, b"z")]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_is_passed_over(end: bytes) -> None:
    chunks = [b"a\n", *[b"x" * 65536] * 17, b"\nb\n", b"y" * (MAX_LINE_BYTES + 1) + end]
    found = [(item.line, item.data, item.too_long) for item in items(split_lines, *chunks)]
    assert found == [(1, b"a", False), (2, b"", True), (3, b"b", False), (4, b"", True)]


@given(st.lists(st.sampled_from([b"{}", b" ", b"\r", b"", b"\xef\xbb\xbf{}", b"0123456789", b"\xff"])).map(b"\n".join), CUTS)
@settings(deadline=None)
def test_lines_do_not_depend_on_the_chunks(data: bytes, at: list[int]) -> None:
    """With a limit of eight bytes, so that lines too long to take are among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson, "MAX_LINE_BYTES", 8)
        assert items(split_lines, *cut(data, at)) == items(split_lines, data)


def document(*seeds: Any) -> bytes:
    return json.dumps({"seeds": list(seeds)}).encode()


def test_items_of_a_document_are_numbered_from_one() -> None:
    found = items(split_document, document({"a": 1}, {"b": [2]}))
    assert found == [RawItem(1, b"", value={"a": 1}, parsed=True), RawItem(2, b"", value={"b": [2]}, parsed=True)]


def test_items_of_any_kind_come_through() -> None:
    assert values(document(None, 1, 1.5, "x", [], {}, [[{}]], True)) == [None, 1, 1.5, "x", [], {}, [[{}]], True]


def test_an_empty_list_gives_nothing() -> None:
    assert values(b'{"seeds": []}') == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("seeds"), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=5), CUTS)
@settings(deadline=None)
def test_a_documents_items_are_those_of_a_whole_parse_however_it_is_cut(seeds: list[Any], at: list[int]) -> None:
    assert values(*cut(document(*seeds), at)) == seeds


@given(st.lists(st.fixed_dictionaries({"instruction": JSON}), max_size=4), st.integers(0, 10_000), CUTS)
@settings(deadline=None)
def test_a_cut_document_gives_a_beginning_and_says_that_it_is_broken(seeds: list[Any], length: int, at: list[int]) -> None:
    whole = document(*seeds)
    opening = len('{"seeds": [')
    found = items(split_document, *cut(whole[: opening + length % (len(whole) - opening)], at))
    *before, last = found
    assert [item.value for item in before] == seeds[: len(before)]
    assert last.broken is not None
    assert last.line == len(before) + 1


@pytest.mark.parametrize(
    "damage",
    [
        b'{"instruction": "b", "x": NaN}]}',
        b'{"instruction": "b',
        b'{"x": "\xff"}]}',
        b"]",
        b"{]}",
        b"1e999]}",
        b"'x'",
        b"1" * 5000 + b"]}",
        b"",
    ],
)
def test_damage_keeps_the_items_before_it(damage: bytes) -> None:
    first, last = items(split_document, b'{"seeds": [{"instruction": "a"}, ' + damage)
    assert first.value == {"instruction": "a"}
    assert last.line == 2
    assert re.match("not valid (JSON|UTF-8) from here on", last.broken or "")


def test_200_000_levels_cost_only_their_own_item() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    found = items(split_document, b'{"seeds": [1, ' + deep + b', {"instruction": "b"}]}')
    assert [(item.line, item.value, item.too_deep) for item in found] == [
        (1, 1, False),
        (2, None, True),
        (3, {"instruction": "b"}, False),
    ]


@pytest.mark.parametrize(("levels", "too_deep"), [(MAX_DEPTH, False), (MAX_DEPTH + 2, True)])
def test_an_item_may_nest_to_the_limit(levels: int, too_deep: bool) -> None:
    (item,) = items(split_document, b'{"seeds": [' + b"[" * levels + b"]" * levels + b"]}")
    assert item.too_deep is too_deep


def test_an_item_that_is_too_long_is_passed_over() -> None:
    chunks = [b'{"seeds": [1, "', *[b"x" * 65536] * 40, b'", 2]}']
    first, long, last = items(split_document, *chunks)
    assert (first.value, long.too_long, long.value, last.value) == (1, True, None, 2)


def test_an_item_that_is_far_too_long_ends_the_reading() -> None:
    chunks = [b'{"seeds": [1, "', *[b"x" * 65536] * 400, b'", 2]}']
    first, last = items(split_document, *chunks)
    assert first.value == 1
    assert "Send large files as application/x-ndjson" in (last.broken or "")


@pytest.mark.parametrize("data", [b"[]", b"5", b'"x"', b"null", b"{}", b'{"seed": []}', b'{"x": {"seeds": [1]}}'])
def test_a_body_without_seeds_is_told_the_shape(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"must be a JSON object \{\"seeds\""):
        items(split_document, data)


@pytest.mark.parametrize("data", [b"", b" ", b"seeds", b'{"see', b'{"seeds"', b"\0", b"\xff", b"{'seeds': []}"])
def test_a_body_that_is_no_json_before_its_seeds_is_refused_whole(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="the body is not valid JSON"):
        items(split_document, data)


@pytest.mark.parametrize("value", [b"5", b"null", b"{}", b'"x"'])
def test_seeds_that_are_no_list_are_named(value: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        items(split_document, b'{"seeds": ' + value + b"}")
    assert caught.value.errors[0].field == "seeds"


@pytest.mark.parametrize("data", [b'{"x": 1, "seeds": []}', b'{"seeds": [], "x": {"seeds": [1]}}'])
def test_an_unknown_member_is_named(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="unknown member 'x'") as caught:
        items(split_document, data)
    assert caught.value.errors[0].field == "x"


def test_a_byte_order_mark_before_a_document_is_taken_off() -> None:
    assert values(b"\xef\xbb\xbf" + document(1)) == [1]


def test_a_lone_surrogate_is_not_changed_into_another_character() -> None:
    assert values(b'{"seeds": ["a\\ud800b"]}') != ["a?b"]


def test_a_large_integer_does_not_cost_what_follows() -> None:
    assert len(values(b'{"seeds": [{"id": 9223372036854775808}, 2]}')) == 2


def test_white_space_at_the_end_is_no_item() -> None:
    assert values(document(1), *[b" " * 65536] * 20) == [1]
