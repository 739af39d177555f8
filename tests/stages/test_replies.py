"""Replies: bytes from a teacher become a Reply or a TeacherError, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.teacher.errors import (
    Aborted,
    BadReply,
    NotServed,
    Overloaded,
    SeedRefused,
    ServerFailed,
    TeacherError,
    Unauthorized,
    Unavailable,
)
from workers.teacher.replies import error_of, read_reply
from workers.teacher.types import Reply


def body(message: Any = None, finish_reason: Any = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": {"content": "Hi."} if message is None else message, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], **members}).encode()


def read(raw: bytes) -> Reply:
    return read_reply(raw, "application/json", 7)


def bad(raw: bytes, content_type: str = "application/json") -> str:
    with pytest.raises(BadReply) as caught:
        read_reply(raw, content_type, 7)
    assert caught.value.raw == raw
    return caught.value.message


def test_a_whole_answer_is_read() -> None:
    raw = body(
        {"content": "4", "reasoning": "2 + 2", "tool_calls": []},
        model="teacher",
        usage={"prompt_tokens": 5, "completion_tokens": 9},
    )
    assert read(raw) == Reply(
        "4", "2 + 2", "stop", has_tool_calls=False, model="teacher", prompt_tokens=5, completion_tokens=9, latency_ms=7, raw=raw
    )


def test_the_older_reasoning_content_is_read() -> None:
    assert read(body({"content": "4", "reasoning_content": "2 + 2"})).reasoning == "2 + 2"


def test_the_newer_reasoning_wins_over_the_older() -> None:
    assert read(body({"content": "4", "reasoning": "new", "reasoning_content": "old"})).reasoning == "new"


def test_null_content_is_an_empty_answer() -> None:
    assert read(body({"content": None, "reasoning": None})).content == ""


def test_content_parts_are_joined() -> None:
    assert read(body({"content": [{"type": "text", "text": "a"}, {"type": "image"}, 5, {"text": "b"}]})).content == "ab"


def test_tool_calls_are_seen() -> None:
    assert read(body({"content": None, "tool_calls": [{"id": "1"}]})).has_tool_calls


def test_nan_in_logprobs_does_not_cost_the_answer() -> None:
    raw = body().replace(b'"finish_reason"', b'"logprobs": {"content": [{"logprob": NaN}, -Infinity]}, "finish_reason"')
    assert read(raw).content == "Hi."


def test_a_lone_surrogate_is_kept_for_the_parser_to_judge() -> None:
    assert read(body({"content": "a\ud800b"})).content == "a\ud800b"


def test_a_surrogate_pair_is_one_character() -> None:
    assert read(body({"content": "\N{GRINNING FACE}"})).content == "\N{GRINNING FACE}"


def test_invalid_utf8_is_replaced() -> None:
    assert read(body().replace(b"Hi.", b"H\xff.")).content == "H\ufffd."


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": None}, {"prompt_tokens": -1}, {"prompt_tokens": 2**31}, {"prompt_tokens": "5"}]
)
def test_counts_that_are_none_are_zero(usage: Any) -> None:
    assert read(body(usage=usage)).prompt_tokens == 0


@pytest.mark.parametrize("finish", [5, ["stop"], {}, None])
def test_a_finish_reason_that_is_no_string_is_none(finish: Any) -> None:
    assert read(body(finish_reason=finish)).finish_reason is None


def test_an_abort_is_an_error() -> None:
    with pytest.raises(Aborted):
        read(body(finish_reason="abort"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"<html>",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"choices": 5}',
        b'{"choices": []}',
        b'{"choices": [5]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": "x"}]}',
        b'{"choices": [{"message": {"content": "cut',
    ],
)
def test_what_is_no_completion_is_a_bad_reply(raw: bytes) -> None:
    bad(raw)


def test_html_with_status_200_is_named_by_its_content_type() -> None:
    assert "not JSON (text/html)" in bad(b"<html>Sign in</html>", "text/html")


def test_an_empty_body_is_named() -> None:
    assert "(an empty body)" in bad(b"")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"choices":['])
def test_200_000_levels_are_a_bad_reply(opening: bytes) -> None:
    bad(opening * 200_000)


def test_a_number_of_100_000_digits_is_a_bad_reply_beside_a_nan() -> None:
    bad(b'{"a": ' + b"1" * 100_000 + b', "b": NaN}')


@pytest.mark.parametrize(
    "raw", [b'{"error": {"message": "too long"}}', b'{"object": "error", "message": "too long"}', b'{"error": "too long"}']
)
def test_an_error_with_status_200_is_a_bad_reply_with_its_words(raw: bytes) -> None:
    assert bad(raw) == "an error with status 200: too long"


def test_a_null_error_beside_an_answer_is_none() -> None:
    assert read(body(error=None)).content == "Hi."


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SeedRefused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotServed),
        (408, ServerFailed),
        (413, SeedRefused),
        (422, SeedRefused),
        (429, Overloaded),
        (500, ServerFailed),
        (502, Unavailable),
        (503, Overloaded),
        (504, Unavailable),
        (204, BadReply),
        (302, BadReply),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[TeacherError]) -> None:
    assert type(error_of(status, b"")) is kind


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"error": {"message": "m", "type": "BadRequestError", "param": null, "code": 400}}', "m"),
        (b'{"object": "error", "message": "m", "type": "BadRequestError", "code": 400}', "m"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body"], "msg": "m"}]}', '[{"loc":["body"],"msg":"m"}]'),
        (b'{"error": null, "message": "m"}', "m"),
        (b'{"error": {"code": 1}, "detail": "m"}', "m"),
        (b"<html>\n<h1>Bad  Gateway</h1>", "'<html> <h1>Bad Gateway</h1>'"),
        (b"", "(an empty body)"),
        (b"\xff\0", "'\ufffd\ufffd'"),
    ],
)
def test_the_servers_words_are_quoted(raw: bytes, words: str) -> None:
    error = error_of(400, raw)
    assert error.message == f"HTTP 400: {words}"
    assert error.raw == raw


@pytest.mark.parametrize("raw", [b'{"error": "' + b"x" * 100_000 + b'"}', b"x" * 100_000, b"[" * 200_000])
def test_long_words_are_cut(raw: bytes) -> None:
    assert len(error_of(400, raw).message) < 2100


MEMBERS = st.sampled_from(
    ["choices", "message", "content", "reasoning", "finish_reason", "usage", "model", "error", "detail", "text", "tool_calls"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
ALMOST = st.builds(
    lambda message, finish, rest: {**rest, "choices": [{"message": message, "finish_reason": finish}]},
    JSON,
    JSON,
    st.dictionaries(MEMBERS, JSON),
)
BYTES = st.binary() | (JSON | ALMOST).map(lambda value: json.dumps(value).encode())


@given(BYTES, st.sampled_from(["", "application/json", "text/html; charset=utf-8"]))
@settings(deadline=None, max_examples=400)
def test_reading_raises_nothing_but_teacher_errors(raw: bytes, content_type: str) -> None:
    try:
        reply = read_reply(raw, content_type, 1)
    except TeacherError as error:
        assert error.message  # noqa: PT017 -- either outcome is right
        assert error.raw == raw  # noqa: PT017
    else:
        assert isinstance(reply.content, str)
        assert 0 <= reply.prompt_tokens < 2**31


@given(st.integers(100, 599).filter(lambda status: status != 200), BYTES)
@settings(deadline=None, max_examples=200)
def test_any_other_status_and_body_make_an_error(status: int, raw: bytes) -> None:
    assert error_of(status, raw).message.startswith(f"HTTP {status}: ")
