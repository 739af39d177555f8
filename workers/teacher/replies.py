"""Bytes into a Reply or a TeacherError: both of vLLM's error shapes, and everything that is neither. Pure."""

from __future__ import annotations

import json
from typing import Any

import orjson

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
from workers.teacher.types import Reply

SHOWN_CHARS = 500


def error_of(status: int, raw: bytes) -> TeacherError:
    """The error that a status other than 200 means, with the server's words.

    vLLM since 0.10 answers {"error": {"message", "type", "param", "code"}}, before it the flat
    {"object": "error", "message", …}; FastAPI's own errors are {"detail": …}; proxies send HTML.
    """
    message = f"HTTP {status}: {_message(raw)}"
    kinds: dict[int, type[TeacherError]] = {
        401: Unauthorized,
        403: Unauthorized,
        404: NotServed,
        429: Overloaded,
        502: Unavailable,
        503: Overloaded,
        504: Unavailable,
    }
    if status in kinds:
        return kinds[status](message, raw=raw)
    if status >= 500 or status == 408:  # noqa: PLR2004 -- server errors; request timeout
        return ServerFailed(message, raw=raw)
    if status >= 400:  # noqa: PLR2004 -- client errors
        return SeedRefused(message, raw=raw)
    return BadReply(f"{message} (expected 200)", raw=raw)


def _message(raw: bytes) -> str:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _excerpt(raw)
    if isinstance(body, dict):
        inner = body.get("error", body)
        for holder in (inner, body):
            if isinstance(holder, dict):
                words = holder.get("message") or holder.get("detail")
                if words:
                    return _spelled(words, raw)[:2000]
        if isinstance(inner, str):
            return inner[:2000]
    return _excerpt(raw)


def _spelled(words: Any, raw: bytes) -> str:  # noqa: ANN401 -- any JSON
    try:
        return words if isinstance(words, str) else orjson.dumps(words).decode()
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return _excerpt(raw)


def read_reply(raw: bytes, content_type: str, latency_ms: int) -> Reply:
    """The first choice of a chat completion.

    Raises:
        BadReply: not such an object, or an error sent with status 200.
        Aborted: vLLM aborted the request (finish_reason `abort`).
    """
    body = _load(raw, content_type)
    if not isinstance(body, dict):
        msg = f"the answer is no JSON object: {_excerpt(raw)}"
        raise BadReply(msg, raw=raw)
    choices = body.get("choices")
    if body.get("error") or body.get("object") == "error":
        msg = f"an error with status 200: {_message(raw)}"
        raise BadReply(msg, raw=raw)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        msg = f"the answer has no choices: {_excerpt(raw)}"
        raise BadReply(msg, raw=raw)
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        msg = f"the first choice has no message: {_excerpt(raw)}"
        raise BadReply(msg, raw=raw)
    finish_reason = choice.get("finish_reason")
    if finish_reason == "abort":
        msg = "vLLM aborted the request (finish_reason abort)"
        raise Aborted(msg, raw=raw)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    model = body.get("model")
    return Reply(
        content=_text(message.get("content")),
        reasoning=_text(message.get("reasoning")) or _text(message.get("reasoning_content")) or None,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        has_tool_calls=bool(message.get("tool_calls")),
        model=model if isinstance(model, str) else None,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        latency_ms=latency_ms,
        raw=raw,
    )


def _load(raw: bytes, content_type: str) -> Any:  # noqa: ANN401 -- any JSON
    """orjson, or the standard library for what orjson is too strict for: NaN in logprobs, lone surrogates, bad UTF-8."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        kind = f" ({content_type})" if content_type and "json" not in content_type else ""
        msg = f"the answer is not JSON{kind}: {exc}; it begins {_excerpt(raw)}"
        raise BadReply(msg, raw=raw) from exc


def _text(value: Any) -> str:  # noqa: ANN401 -- any JSON
    if isinstance(value, str):
        return value
    if isinstance(value, list):  # content parts, as some servers send them
        return "".join(part.get("text", "") for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def _count(value: Any) -> int:  # noqa: ANN401 -- any JSON
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _excerpt(raw: bytes) -> str:
    text = " ".join(raw[: SHOWN_CHARS * 4].decode("utf-8", "replace").replace("\0", "\ufffd").split())
    return repr(text[:SHOWN_CHARS]) if text else "(an empty body)"
