"""The bodies of good answers, key for key as vLLM 0.32 writes them, nulls included."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from bench.simulated_vllm.answers import Answer
from bench.simulated_vllm.behaviour import ReasoningStyle

FINGERPRINT = "vllm-0.32.0-simulated"

Json = dict[str, Any]


def completion(
    model: str,
    request_id: str,
    answers: Sequence[Answer],
    prompt_tokens: int,
    style: ReasoningStyle,
) -> Json:
    completion_tokens = sum(answer.completion_tokens for answer in answers)
    details = None
    if style is ReasoningStyle.NATIVE:  # vLLM counts these only where it has a reasoning parser
        details = {"reasoning_tokens": sum(answer.reasoning_tokens for answer in answers)}
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice(index, answer, style) for index, answer in enumerate(answers)],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens_details": None,
            "completion_tokens_details": details,
        },
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def choice(index: int, answer: Answer, style: ReasoningStyle) -> Json:
    return {
        "index": index,
        "message": message(answer, style),
        "logprobs": None,
        "finish_reason": answer.finish_reason,
        "stop_reason": None,
        "token_ids": None,
        "routed_experts": None,
    }


def message(answer: Answer, style: ReasoningStyle) -> Json:
    inline = style not in {ReasoningStyle.NATIVE, ReasoningStyle.REASONING_CONTENT}
    body: Json = {
        "role": "assistant",
        "content": inlined(answer, style) if inline else answer.content,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    if style is ReasoningStyle.REASONING_CONTENT:
        # The releases that had this field also wrote the empty list, which 0.32 leaves out.
        body["tool_calls"] = []
        body["reasoning_content"] = answer.reasoning
    else:
        body["reasoning"] = None if inline else answer.reasoning
    return body


def inlined(answer: Answer, style: ReasoningStyle) -> str:
    """The content as a model writes it that has no reasoning parser behind it."""
    content = answer.content or ""
    if answer.reasoning is None:
        return content
    opened = "" if style is ReasoningStyle.TAGS_NO_OPEN else "<think>\n"
    if answer.content is None:
        return f"{opened}{answer.reasoning}"
    closed = "" if style is ReasoningStyle.TAGS_UNCLOSED else "\n</think>"
    return f"{opened}{answer.reasoning}{closed}\n\n{content}"


def models(model: str, max_model_len: int, created: int) -> Json:
    permission = {
        "id": f"modelperm-{random.getrandbits(64):016x}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    card = {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
    return {"object": "list", "data": [card]}
