"""A whole answer, cut into the server-sent events that vLLM 0.32 sends for `stream: true`."""

from __future__ import annotations

from typing import Any

import orjson

DELTAS = 16  # vLLM sends one a token; sixteen exercise a client as well, for less
DONE = b"data: [DONE]\n\n"


def events(body: dict[str, Any], *, include_usage: bool) -> list[bytes]:
    """Without the final `[DONE]`. Faults in `body` come through."""
    made = []
    for choice in body["choices"]:
        index, message = choice["index"], choice["message"]
        made.append(
            chunk(body, one(index, {"role": "assistant", "content": ""}),
                  prompt_token_ids=None, prompt_text=None)
        )  # fmt: skip
        made += [chunk(body, one(index, delta, token_ids=None)) for delta in deltas(message)]
        last = {"finish_reason": choice["finish_reason"], "stop_reason": choice["stop_reason"]}
        # vLLM stamps the fingerprint on the last chunk only, and that is the usage chunk if asked.
        stamp = {} if include_usage else {"system_fingerprint": body["system_fingerprint"]}
        made.append(chunk(body, one(index, {"content": ""}, **last, token_ids=None), **stamp))
    if include_usage:
        usage = {key: value for key, value in body["usage"].items() if value is not None}
        stamp = {"usage": usage, "system_fingerprint": body["system_fingerprint"]}
        made.append(chunk(body, None, **stamp))
    return made


def deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for field in ("reasoning", "reasoning_content", "content"):
        made += [{field: piece} for piece in pieces(message.get(field) or "")]
    for position, call in enumerate(message.get("tool_calls", [])):
        made.append({"tool_calls": [{**call, "index": position}]})
    return made


def pieces(text: str) -> list[str]:
    """At most `DELTAS` of them, cut after spaces, that join to the text."""
    words = text.split(" ")
    step = -(-len(words) // DELTAS)
    cut = [" ".join(words[at : at + step]) for at in range(0, len(words), step)]
    return [piece + " " for piece in cut[:-1]] + [piece for piece in cut[-1:] if piece]


def one(index: int, delta: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None, **rest}


def chunk(body: dict[str, Any], choice: dict[str, Any] | None, **rest: Any) -> bytes:
    data = {
        "id": body["id"],
        "object": "chat.completion.chunk",
        "created": body["created"],
        "model": body["model"],
        "choices": [] if choice is None else [choice],
        **rest,
    }
    return b"data: " + orjson.dumps(data) + b"\n\n"
