"""What every check is: options that a recipe sets, validated once, and a pure judgement."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.curation.candidate import Candidate, Reject

# The finite floats and bounded counts that options are made of.
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10_000_000)]


class Check(BaseModel):
    """A recipe entry `{"check": NAME, …options}`; unknown options are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    check: str

    @abstractmethod
    def judge(self, candidate: Candidate) -> Reject | None:
        """None keeps the candidate. Never raises, on any string."""

    def reject(self, detail: str) -> Reject:
        """This check's reject."""
        return Reject(self.check, detail)
