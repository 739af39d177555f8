"""What a POST of seeds answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


class RejectedLine(BaseModel):
    line: int | None
    field: str | None
    error: str


class UploadAnswer(BaseModel):
    """received = queued + duplicates + rejected_total, counted in seeds (a self-instruct line may hold several)."""

    lines: Annotated[int, Field(description="Lines (or items of `seeds`) read; blank lines do not count.")]
    received: int
    queued: int
    duplicates: Annotated[int, Field(description="The same instruction and input as a seed of this dataset.")]
    rejected_total: int
    rejected: Annotated[list[RejectedLine], Field(description="The first 1000 rejected lines, with the reason.")]
