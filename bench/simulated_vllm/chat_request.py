"""POST /v1/chat/completions: the body checked as vLLM checks it, and no further than needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.errors import (
    RefusedError,
    UnparsableError,
    invalid,
    prompt_too_long,
    too_many_asked,
    unknown_model,
)

CHARACTERS_A_TOKEN = 4
TEMPLATE_TOKENS = 8  # what a chat template adds, about


@dataclass(frozen=True, slots=True)
class ChatRequest:
    messages: bytes  # canonical, so that equal prompts are equal bytes
    prompt: str
    prompt_tokens: int
    max_tokens: int
    seed: int | None
    n: int
    stream: bool
    include_usage: bool
    request_id: str | None


def parse(raw: bytes, content_type: str, behaviour: Behaviour) -> ChatRequest:
    """Raises RefusedError."""
    body = decode(raw, content_type)
    if "messages" not in body:
        raise missing("messages", body)
    messages = body["messages"]
    if not isinstance(messages, list):
        raise wrong_type("messages", "list_type", "Input should be a valid list", messages)
    for field in ("max_tokens", "max_completion_tokens", "seed", "n"):
        if not isinstance(body.get(field), int | None):
            raise wrong_type(field, "int_type", "Input should be a valid integer", body[field])
    if body.get("stream_options") and not body.get("stream"):
        message = "Stream options can only be defined when `stream=True`."
        message += " (parameter=stream_options)"
        raise RefusedError(message, param="stream_options")
    if body.get("model") not in (None, "", behaviour.model):
        raise unknown_model(body["model"], behaviour.model)
    prompt = "\n".join(text(message) for message in messages)
    prompt_tokens = TEMPLATE_TOKENS + len(prompt) // CHARACTERS_A_TOKEN
    return ChatRequest(
        messages=orjson.dumps(messages),
        prompt=prompt,
        prompt_tokens=prompt_tokens,
        max_tokens=output_budget(body, prompt_tokens, behaviour.max_model_len),
        seed=body.get("seed"),
        n=body.get("n") or 1,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        request_id=body.get("request_id"),
    )


def decode(raw: bytes, content_type: str) -> dict[str, Any]:
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise invalid("Unsupported Media Type: Only 'application/json' is allowed", None)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        # The slow way round: for the error's own words, and for what only orjson refuses (a lone
        # surrogate, NaN), which vLLM takes.
        body = decode_as_fastapi(raw)
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise invalid(problem("model_attributes_type", "body", message, body), "body")
    return body


def decode_as_fastapi(raw: bytes) -> Any:
    if not raw:
        raise invalid(problem("missing", "body", "Field required", None), "body")
    try:
        return json.loads(raw)
    except json.JSONDecodeError as exc:
        where = f"body.{exc.pos}"
        found = problem("json_invalid", where, "JSON decode error", {})
        raise invalid({**found, "ctx": {"error": exc.msg}}, where) from exc
    except ValueError as exc:  # not UTF-8
        raise UnparsableError from exc


def text(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def output_budget(body: dict[str, Any], prompt_tokens: int, max_model_len: int) -> int:
    field = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
    asked: int = body.get(field) or 0
    if asked > max_model_len:
        raise too_many_asked(field, asked, max_model_len)
    if prompt_tokens > max_model_len:
        raise prompt_too_long(prompt_tokens, max_model_len)
    # vLLM does not refuse a limit that the context has no room for: it lowers it, silently.
    room = max_model_len - prompt_tokens
    return min(asked, room) if asked else room


def missing(field: str, body: dict[str, Any]) -> RefusedError:
    where = f"body.{field}"
    return invalid(problem("missing", where, "Field required", body), where)


def wrong_type(field: str, kind: str, message: str, value: object) -> RefusedError:
    where = f"body.{field}"
    return invalid(problem(kind, where, message, value), where)


def problem(kind: str, where: str, message: str, value: object) -> dict[str, Any]:
    given = f"<{type(value).__name__} of {len(value)} items>" if isinstance(value, dict | list) \
        else str(value)  # fmt: skip
    return {"type": kind, "loc": where, "msg": message, "input": given}


def tokenize(raw: bytes, content_type: str, behaviour: Behaviour) -> dict[str, Any]:
    """POST /tokenize, of a `prompt` or of `messages`; one token every four characters."""
    body = decode(raw, content_type)
    if body.get("model") not in (None, "", behaviour.model):
        raise unknown_model(body["model"], behaviour.model)
    if isinstance(body.get("messages"), list):
        prompt = "\n".join(text(message) for message in body["messages"])
        count = TEMPLATE_TOKENS + len(prompt) // CHARACTERS_A_TOKEN
    elif isinstance(body.get("prompt"), str):
        count = 1 + len(body["prompt"]) // CHARACTERS_A_TOKEN
    else:
        raise missing("prompt", body)
    return {
        "count": count,
        "max_model_len": behaviour.max_model_len,
        "tokens": list(range(count)),
        "token_strs": None,
    }
