"""What GET /v1/teachers gives."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.teachers.config import ReasoningMode


class ReplicaView(BaseModel):
    """One server of a teacher, as one worker sees it. What vLLM's /metrics did not tell is null."""

    worker: str
    url: str
    level: float = Field(description="Calls that this worker gives it at once.")
    level_reason: str = Field(description="Why the level last moved.")
    steered_by: str = Field(
        description="`metrics`: what vLLM says of itself; `throughput`: tokens a second, where it says nothing."
    )
    in_flight: int
    fault: str | None = Field(description="Why it is left alone at present; null while it is well.")
    tried_again_in_s: float | None
    running: int | None
    waiting: int | None
    kv_cache_use: float | None
    preemptions: int | None
    prefix_queries: int = Field(description="Tokens looked up in vLLM's prefix cache since this worker started.")
    prefix_hits: int


class TeacherView(BaseModel):
    """A configured teacher; the key is never shown."""

    name: str
    model: str
    licence: str | None
    reasoning: ReasoningMode
    urls: list[str]
    level: float | None = Field(
        description="Calls that it is given at once, all live workers together; null before one has told."
    )
    in_flight: int
    prefix_cache_hit_rate: float | None
    faults: list[str]
    replicas: list[ReplicaView]


class TeacherList(BaseModel):
    teachers: list[TeacherView]
