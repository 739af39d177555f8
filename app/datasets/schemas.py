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


Limit = Annotated[int, Field(strict=True, ge=1, le=10**15)]
Weight = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class Budget(BaseModel):
    """What a dataset may use before it pauses itself; null is without limit. Calls in flight at that moment are kept.

    `attempts`: teacher calls. `tokens`: prompt and completion tokens of all attempts. `wall_s`: seconds since the
    dataset was made, or resumed, or the budget was changed.
    """

    model_config = ConfigDict(extra="forbid")

    attempts: Limit | None = None
    tokens: Limit | None = None
    wall_s: Annotated[int, Field(strict=True, ge=1, le=10**9)] | None = None


class CreateDataset(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "support-answers", "recipe": {"sampling": {"temperature": 0.7, "max_tokens": 1024}}}]
        },
    )

    name: DatasetName
    recipe: Recipe = Recipe()
    weight: Weight = 1.0
    target_accepted: Limit | None = None
    budget: Budget = Budget()


class ChangeDataset(BaseModel):
    """What is left out stays as it is; null takes a limit away."""

    model_config = ConfigDict(extra="forbid")

    weight: Weight = 1.0
    target_accepted: Limit | None = None
    budget: Budget | None = None


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


class TeacherState(BaseModel):
    """The dataset's teacher as its workers see it; null where no worker has told yet."""

    level: float | None = Field(default=None, description="Calls that it is given at once now, all workers together.")
    level_reason: str | None = None
    in_flight: int = 0
    prefix_cache_hit_rate: float | None = None
    faults: list[str] = []


class DatasetView(BaseModel):
    name: str
    state: DatasetState
    paused_because: str | None = Field(default=None, description="Why it paused itself; null if the user paused it.")
    recipe: dict[str, Any]
    recipe_hash: str
    recipe_revision: int
    weight: float
    target_accepted: int | None
    budget: Budget
    seeds: SeedCounts
    samples: SampleCounts
    attempts: AttemptCounts
    tokens: Tokens
    rate: Rate
    eta_s: float | None
    teacher: TeacherState = TeacherState()
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
