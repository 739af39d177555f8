"""What goes to a teacher, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion; `parameters` are vLLM's sampling parameters by their names."""

    messages: tuple[dict[str, str], ...]
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A well-formed answer, whatever it says. `raw` is the body as it came; times in milliseconds."""

    content: str
    reasoning: str | None
    finish_reason: str | None
    has_tool_calls: bool
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    latency_ms: int
    raw: bytes
