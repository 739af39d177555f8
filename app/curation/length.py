"""length: too short to teach anything, or longer than the student is trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from app.curation.candidate import Candidate, Reject, TextField
from app.curation.check import Check, Count


class Length(Check):
    """Characters (Unicode code points) and words (runs between white space) of one field; 0 and None set no limit."""

    check: Literal["length"]
    on: TextField = "response"
    min_chars: Count = 1
    max_chars: Count | None = None
    min_words: Count = 0
    max_words: Count | None = None

    @model_validator(mode="after")
    def order(self) -> Length:
        for low, high, unit in (
            (self.min_chars, self.max_chars, "chars"),
            (self.min_words, self.max_words, "words"),
        ):
            if high is not None and low > high:
                msg = f"min_{unit} ({low}) is above max_{unit} ({high}): nothing could pass"
                raise ValueError(msg)
        return self

    def judge(self, candidate: Candidate) -> Reject | None:
        text = candidate.text(self.on).strip()
        if self.on == "reasoning" and candidate.reasoning is None:
            return None  # absence is the `reasoning` check's business
        chars = len(text)
        if chars < self.min_chars:
            return self.reject(f"{self.on} has {chars} characters, fewer than {self.min_chars}")
        if self.max_chars is not None and chars > self.max_chars:
            return self.reject(f"{self.on} has {chars} characters, more than {self.max_chars}")
        if self.min_words or self.max_words is not None:
            words = len(text.split())
            if words < self.min_words:
                return self.reject(f"{self.on} has {words} words, fewer than {self.min_words}")
            if self.max_words is not None and words > self.max_words:
                return self.reject(f"{self.on} has {words} words, more than {self.max_words}")
        return None
