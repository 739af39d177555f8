"""repetition: a loop, as small or overheated models fall into.

Gopher's repetition measures (Rae et al. 2021, arXiv:2112.11446, table A1): the share of the text
that lies in repeated lines, and in n-grams that occur more than once.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from app.curation.candidate import Candidate, Reject, TextField
from app.curation.check import Check, Count, Share

# A judgement looks at this much of a text, so that no input makes it slow.
LOOKED_AT_CHARS = 200_000


class Repetition(Check):
    """`max_line_share`: of characters in lines already seen. `max_ngram_share`: of words in n-grams already seen."""

    check: Literal["repetition"]
    on: tuple[TextField, ...] = ("response", "reasoning")
    n: Annotated[int, Field(ge=2, le=50)] = 10
    max_ngram_share: Share = 0.3
    max_line_share: Share = 0.3
    min_words: Count = 30

    def judge(self, candidate: Candidate) -> Reject | None:
        for field in self.on:
            text = candidate.text(field)[:LOOKED_AT_CHARS]
            words = text.split()
            if len(words) < self.min_words:
                continue
            share = repeated_line_share(text)
            if share > self.max_line_share:
                return self.reject(f"{share:.0%} of the {field} lies in repeated lines (limit {self.max_line_share:.0%})")
            share = repeated_ngram_share(words, self.n)
            if share > self.max_ngram_share:
                return self.reject(
                    f"{share:.0%} of the {field}'s words lie in repeated {self.n}-grams (limit {self.max_ngram_share:.0%})"
                )
        return None


def repeated_line_share(text: str) -> float:
    """Characters in lines that stood before, over all; lines of fewer than 8 characters (braces, `else:`) are passed over."""
    counts = Counter(line.strip() for line in text.splitlines())
    total = sum(len(line) * count for line, count in counts.items())
    repeated = sum(len(line) * (count - 1) for line, count in counts.items() if len(line) >= 8)  # noqa: PLR2004 -- as the docstring says
    return repeated / total if total else 0.0


def repeated_ngram_share(words: list[str], n: int) -> float:
    """Words covered by an n-gram that stood before, over all words; 0 where there is no n-gram."""
    grams = list(zip(*(words[start:] for start in range(n)), strict=False))
    if len(set(grams)) == len(grams):
        return 0.0
    seen: set[tuple[str, ...]] = set()
    covered = 0
    reach = 0  # words before this position are counted already
    for start, gram in enumerate(grams):
        if gram in seen:
            covered += start + n - max(start, reach)
            reach = start + n
        else:
            seen.add(gram)
    return covered / len(words) if words else 0.0
