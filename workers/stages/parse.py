"""Reply -> reasoning + answer, or a typed reject. Pure; never raises, on any string, and never loses text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.curation.candidate import Reject
from app.teachers.config import ReasoningMode
from app.teachers.diagnosis import ReasoningSeen
from workers.teacher.types import Reply

OPEN, CLOSE = "<think>", "</think>"
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """`reject` None means a finished, non-empty answer. Text is kept either way."""

    reasoning: str | None
    response: str
    seen: ReasoningSeen
    reject: Reject | None


def parse(reply: Reply, mode: ReasoningMode) -> Parsed:
    """Take the reply apart as the reasoning mode says.

    The reasons that it gives are stable: truncation, content_filter, tool_calls, unfinished,
    bad_text, unclosed_reasoning, leaked_tags, empty.
    """
    content, damaged = _storable(reply.content)
    field, field_damaged = _storable(reply.reasoning or "")
    has_tags = OPEN in content or CLOSE in content
    seen: ReasoningSeen = "field" if field.strip() else "tags" if has_tags else "nothing"
    unclosed = False
    if mode in ("tags", "elicited") and has_tags:
        reasoning, response, unclosed = split_tags(content)
        if field.strip():
            reasoning = f"{field.strip()}\n\n{reasoning}".strip()
    else:
        reasoning, response = field.strip(), content.strip()
    reject = _reject(reply, response, unclosed=unclosed, damaged=damaged or field_damaged)
    return Parsed(reasoning or None, response, seen, reject)


def split_tags(text: str) -> tuple[str, str, bool]:
    """(reasoning, answer, whether the reasoning was never closed).

    The opening tag may be missing, since chat templates often put it into the prompt (DeepSeek-R1,
    Qwen3); then all before </think> is reasoning. What stands before <think> belongs to the answer.
    """
    start = text.find(OPEN)
    end = text.find(CLOSE, start + len(OPEN) if start >= 0 else 0)
    if start < 0 or 0 <= text.find(CLOSE) < start:
        end = text.find(CLOSE)
        return text[:end].strip(), text[end + len(CLOSE) :].strip(), False
    before = text[:start]
    if end < 0:
        return text[start + len(OPEN) :].strip(), before.strip(), True
    return text[start + len(OPEN) : end].strip(), (before + text[end + len(CLOSE) :]).strip(), False


def _reject(reply: Reply, response: str, *, unclosed: bool, damaged: bool) -> Reject | None:
    finish = reply.finish_reason
    if finish == "length":
        return Reject("truncation", f"cut by the token limit after {reply.completion_tokens} tokens (finish_reason length)")
    if finish == "content_filter":
        return Reject("content_filter", "stopped by a content filter")
    if reply.has_tool_calls or finish in ("tool_calls", "function_call"):
        return Reject("tool_calls", "a tool call instead of an answer")
    if finish == "repetition":
        return Reject("repetition", "vLLM stopped it for repeating itself (finish_reason repetition)")
    if finish != "stop":
        return Reject("unfinished", f"not finished: finish_reason {finish!r}")
    if damaged:
        return Reject("bad_text", "holds NUL characters, lone surrogates or invalid UTF-8 (shown as U+FFFD)")
    if unclosed:
        return Reject("unclosed_reasoning", "<think> is opened and never closed")
    if OPEN in response or CLOSE in response:
        return Reject("leaked_tags", "<think> tags are left in the answer")
    if not response:
        return Reject("empty", "the answer is empty")
    return None


def _storable(text: str) -> tuple[str, bool]:
    """The text with what Postgres cannot hold replaced, and whether there was any (or had been, before decoding)."""
    if text.isascii() and "\0" not in text:
        return text, False
    clean = UNSTORABLE.sub(REPLACEMENT, text)
    return clean, clean != text or REPLACEMENT in text
