"""What the dataset endpoints take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.datasets.recipe import Recipe

DatasetName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="1 to 100 letters, digits, dots, dashes and underscores; begins with a letter or digit.",
    ),
]
DatasetState = Literal["running", "paused", "cancelled", "idle"]


class CreateDataset(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "support-answers", "recipe": {"sampling": {"temperature": 0.7, "max_tokens": 1024}}}]
        },
    )

    name: DatasetName
    recipe: Recipe = Recipe()


class Requeue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    error_class: Annotated[str, Field(pattern="^[a-z_]{1,100}$")] | None = None


class SeedCounts(BaseModel):
    """total = queued + leased + done + failed + cancelled, at every instant."""

    total: int = 0
    queued: int = 0
    leased: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class SampleCounts(BaseModel):
    """rejected = the sum of by_reason."""

    accepted: int = 0
    rejected: int = 0
    by_reason: dict[str, int] = {}


class AttemptCounts(BaseModel):
    """total = ok + the sum of by_error."""

    total: int = 0
    ok: int = 0
    by_error: dict[str, int] = {}


class Tokens(BaseModel):
    """Of all attempts, those of rejected samples included."""

    prompt: int = 0
    completion: int = 0


class Rate(BaseModel):
    """Over the last minute; samples of either verdict."""

    samples_per_s: float = 0.0
    completion_tokens_per_s: float = 0.0


class SeedFailure(BaseModel):
    """Failed seeds of one error class, with the newest one's words."""

    error_class: str
    seeds: int
    example: str


class DatasetView(BaseModel):
    name: str
    state: DatasetState
    recipe: dict[str, Any]
    recipe_hash: str
    seeds: SeedCounts
    samples: SampleCounts
    attempts: AttemptCounts
    tokens: Tokens
    rate: Rate
    eta_s: float | None
    failures: list[SeedFailure] = []
    warnings: list[str] = Field(default=[], description="What to look at, in words that name the setting to change.")
    created_at: datetime


class DatasetSummary(BaseModel):
    name: str
    state: DatasetState
    recipe_hash: str
    seeds: SeedCounts
    created_at: datetime


class DatasetList(BaseModel):
    datasets: list[DatasetSummary]
    next_cursor: str | None = None


class Requeued(BaseModel):
    requeued: int
