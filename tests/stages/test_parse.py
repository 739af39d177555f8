"""parse: every reply becomes text and, where it is not a finished answer, a reason; nothing is lost on the way."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.teachers.config import ReasoningMode
from workers.stages.parse import CLOSE, OPEN, UNSTORABLE, Parsed, parse, split_tags
from workers.teacher.types import Reply

MODES: tuple[ReasoningMode, ...] = get_args(ReasoningMode)
TAG_MODES: tuple[ReasoningMode, ...] = ("tags", "elicited")
FINISHES = ["stop", "length", "content_filter", "tool_calls", "function_call", "abort", "", "STOP", None]


def reply(content: str, reasoning: str | None = None, finish: str | None = "stop", *, tools: bool = False) -> Reply:
    return Reply(content, reasoning, finish, tools, "m", prompt_tokens=1, completion_tokens=2, latency_ms=3, raw=b"")


def reason(parsed: Parsed) -> str | None:
    return parsed.reject.reason if parsed.reject else None


TEXT = st.text(st.characters()) | st.lists(
    st.sampled_from([OPEN, CLOSE, "<think", "think>", "</", " ", "\n", "word", "\0", "\ud800", "é", "<"]) | st.text(max_size=3)
).map("".join)


@given(TEXT, st.none() | TEXT, st.sampled_from(FINISHES), st.booleans(), st.sampled_from(MODES))
@settings(deadline=None, max_examples=400)
def test_no_text_is_lost(content: str, field: str | None, finish: str | None, tools: bool, mode: ReasoningMode) -> None:
    """Each non-space character comes out as often as it went in, but for the tags of one pair."""
    parsed = parse(reply(content, field, finish, tools=tools), mode)
    came_in = letters(UNSTORABLE.sub("\ufffd", content + (field or "")))
    went_out = letters((parsed.reasoning or "") + parsed.response)
    assert went_out <= came_in
    missing = came_in - went_out
    assert missing in (Counter(), Counter(OPEN), Counter(CLOSE), Counter(OPEN + CLOSE))
    if mode not in TAG_MODES:
        assert not missing


@given(TEXT, st.none() | TEXT, st.sampled_from(MODES))
@settings(deadline=None)
def test_what_comes_out_can_be_stored(content: str, field: str | None, mode: ReasoningMode) -> None:
    parsed = parse(reply(content, field), mode)
    text = (parsed.reasoning or "") + parsed.response
    assert "\0" not in text
    assert text.encode("utf-8").decode("utf-8") == text


@given(TEXT, st.none() | TEXT, st.sampled_from(FINISHES), st.sampled_from(MODES))
@settings(deadline=None)
def test_an_answer_is_accepted_only_when_finished_and_not_empty(
    content: str, field: str | None, finish: str | None, mode: ReasoningMode
) -> None:
    parsed = parse(reply(content, field, finish), mode)
    if parsed.reject is None:
        assert finish == "stop"
        assert parsed.response == parsed.response.strip() != ""
        assert OPEN not in parsed.response
        assert CLOSE not in parsed.response


def letters(text: str) -> Counter[str]:
    return Counter("".join(text.split()))


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", None),
        ("length", "truncation"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("abort", "unfinished"),
        ("STOP", "unfinished"),
        ("", "unfinished"),
        (None, "unfinished"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_each_finish_reason_has_its_reject(finish: str | None, expected: str | None, mode: ReasoningMode) -> None:
    assert reason(parse(reply("An answer.", finish=finish), mode)) == expected


def test_a_tool_call_is_rejected_though_it_says_stop() -> None:
    assert reason(parse(reply("", tools=True), "native")) == "tool_calls"


def test_a_cut_answer_keeps_what_there_is() -> None:
    parsed = parse(reply("Half an ans", "Because", "length"), "native")
    assert (parsed.reasoning, parsed.response) == ("Because", "Half an ans")


def test_truncation_wins_over_unclosed_reasoning() -> None:
    """The cut is the cause, the missing tag its effect."""
    assert reason(parse(reply("<think>on and on", finish="length"), "tags")) == "truncation"


@pytest.mark.parametrize("mode", TAG_MODES)
@pytest.mark.parametrize(
    ("content", "reasoning", "response", "rejected"),
    [
        ("<think>why</think>so", "why", "so", None),
        ("<think>\n why \n</think>\n\n so \n", "why", "so", None),
        ("why</think>so", "why", "so", None),
        ("Well. <think>why</think> So.", "why", "Well.  So.", None),
        ("just so", None, "just so", None),
        ("<think></think>so", None, "so", None),
        ("</think>so", None, "so", None),
        ("<think>why", "why", "", "unclosed_reasoning"),
        ("so<think>why", "why", "so", "unclosed_reasoning"),
        ("<think>why</think>", "why", "", "empty"),
        ("", None, "", "empty"),
        ("<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d", "leaked_tags"),
        ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d", "leaked_tags"),
        ("a</think>b<think>c</think>d", "a", "b<think>c</think>d", "leaked_tags"),
        ("a</think>b</think>c", "a", "b</think>c", "leaked_tags"),
        ("<THINK>why</THINK>so", None, "<THINK>why</THINK>so", None),
    ],
)
def test_tags_are_taken_apart(
    content: str, reasoning: str | None, response: str, rejected: str | None, mode: ReasoningMode
) -> None:
    parsed = parse(reply(content), mode)
    assert (parsed.reasoning, parsed.response, reason(parsed)) == (reasoning, response, rejected)


@pytest.mark.parametrize("mode", ["native", "none"])
def test_tags_in_the_text_are_a_reject_where_none_are_expected(mode: ReasoningMode) -> None:
    parsed = parse(reply("<think>why</think>so"), mode)
    assert (parsed.reasoning, parsed.response, reason(parsed)) == (None, "<think>why</think>so", "leaked_tags")


@pytest.mark.parametrize("mode", MODES)
def test_a_reasoning_field_is_kept_in_every_mode(mode: ReasoningMode) -> None:
    parsed = parse(reply(" so ", "\nwhy\n"), mode)
    assert (parsed.reasoning, parsed.response, parsed.reject) == ("why", "so", None)


@pytest.mark.parametrize("mode", TAG_MODES)
def test_reasoning_from_field_and_tags_is_joined(mode: ReasoningMode) -> None:
    assert parse(reply("<think>second</think>so", "first"), mode).reasoning == "first\n\nsecond"


@pytest.mark.parametrize("reasoning", [None, "", " \n "])
def test_blank_reasoning_is_none(reasoning: str | None) -> None:
    assert parse(reply("so", reasoning), "native").reasoning is None


@pytest.mark.parametrize(
    ("content", "field", "seen"),
    [
        ("so", None, "nothing"),
        ("so", " ", "nothing"),
        ("so", "why", "field"),
        ("<think>", None, "tags"),
        ("</think>", "why", "field"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_what_was_seen_does_not_depend_on_the_mode(content: str, field: str | None, seen: str, mode: ReasoningMode) -> None:
    assert parse(reply(content, field), mode).seen == seen


@pytest.mark.parametrize("bad", ["\0", chr(0xD800), chr(0xDFFF), "\ufffd"])
def test_text_that_cannot_be_stored_is_shown_and_rejected(bad: str) -> None:
    parsed = parse(reply(f"a{bad}b"), "native")
    assert (parsed.response, reason(parsed)) == ("a\ufffdb", "bad_text")


def test_damaged_reasoning_is_rejected_too() -> None:
    assert reason(parse(reply("so", "w\0hy"), "native")) == "bad_text"


def test_a_million_tags_are_taken_apart_at_once() -> None:
    reasoning, answer, unclosed = split_tags(OPEN * 500_000 + CLOSE * 500_000)
    assert (len(reasoning), len(answer), unclosed) == (len(OPEN) * 499_999, len(CLOSE) * 499_999, False)
