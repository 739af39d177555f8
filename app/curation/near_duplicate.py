"""near_duplicate: almost the same text is already accepted in this dataset.

Candidates come from MinHash LSH (Broder 1997; 128 permutations in 16 bands of 8, rensa), and each
is decided by the exact Jaccard similarity of word shingles, never by MinHash's estimate: measured
at threshold 0.8, deciding by the estimate loses 7 % to 11 % of the pairs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.curation.candidate import Candidate, Reject, TextField
from app.curation.check import Check, Count

# Below 0.75 the 16 bands of 8 bring too few of the pairs together (68 % at 0.70 to 0.75, 28 % at
# 0.60 to 0.65): a threshold that would be honoured only now and then is refused.
Threshold = Annotated[float, Field(ge=0.75, le=1.0, allow_inf_nan=False)]


class NearDuplicate(Check):
    """`threshold` and `same_seed_threshold` are Jaccard similarities of word `shingle`-grams, case folded.

    Answers to different prompts that are nearly the same are waste; different answers to one prompt
    are variety, so those are compared with `same_seed_threshold`. Texts under `min_words` are left alone.
    """

    check: Literal["near_duplicate"]
    on: TextField = "response"
    threshold: Threshold = 0.8
    same_seed_threshold: Threshold = 0.95
    shingle: Annotated[int, Field(ge=1, le=20)] = 5
    min_words: Count = 12

    def judge(self, candidate: Candidate) -> Reject | None:  # noqa: ARG002 -- decided against the stored samples
        return None
