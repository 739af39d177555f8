"""exact_duplicate: the same text, but for case and white space, is already accepted in this dataset."""

from __future__ import annotations

from typing import Literal

from app.curation.candidate import Candidate, Reject, TextField
from app.curation.check import Check, Count


class ExactDuplicate(Check):
    """Across seeds only texts of `min_words` or more count: two sentiment seeds may both say "positive".

    Between the samples of one seed every exact repeat counts. Decided in the store's transaction.
    """

    check: Literal["exact_duplicate"]
    on: TextField = "response"
    min_words: Count = 8

    def judge(self, candidate: Candidate) -> Reject | None:  # noqa: ARG002 -- decided against the stored samples
        return None
