"""reasoning: the trace that the dataset is made for is missing or too short to be one."""

from __future__ import annotations

from typing import Literal

from app.curation.candidate import Candidate, Reject
from app.curation.check import Check, Count


class Reasoning(Check):
    """In the default list of every recipe whose reasoning mode is not `none`."""

    check: Literal["reasoning"]
    min_words: Count = 1

    def judge(self, candidate: Candidate) -> Reject | None:
        words = len((candidate.reasoning or "").split())
        if words == 0:
            return self.reject("there is no reasoning")
        if words < self.min_words:
            return self.reject(f"the reasoning has {words} words, fewer than {self.min_words}")
        return None
