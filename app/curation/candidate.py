"""What a check sees, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TextField = Literal["response", "reasoning"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A parsed, finished, non-empty answer, with the seed that asked for it."""

    instruction: str
    input: str
    reasoning: str | None
    response: str

    def text(self, field: TextField) -> str:
        """The named field; empty where there is no reasoning."""
        return self.response if field == "response" else self.reasoning or ""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a sample is not kept: a stable reason that is counted, and words for the reader."""

    reason: str
    detail: str
