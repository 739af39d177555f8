"""What the sample endpoints give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

Verdict = Literal["accepted", "rejected"]


class SampleView(BaseModel):
    sample_id: int
    seed_id: int
    sample_index: int
    verdict: Verdict
    reason: str | None
    detail: str | None
    instruction: str
    input: str
    reasoning: str | None
    response: str
    teacher: str
    recipe_revision: int
    tokens: dict[str, int]
    created_at: datetime


class SamplePage(BaseModel):
    samples: list[SampleView]
    next_cursor: str | None


class AttemptView(BaseModel):
    """One teacher call for the sample; `raw` is the reply as it came (undecodable bytes replaced)."""

    attempt_id: int
    outcome: Literal["ok", "error"]
    error_class: str | None
    error_text: str | None
    model: str | None
    finish_reason: str | None
    tokens: dict[str, int]
    latency_ms: int
    raw: str | None
    created_at: datetime


class SampleDetail(SampleView):
    reference: str | None
    metadata: dict[str, Any]
    attempts: list[AttemptView]
