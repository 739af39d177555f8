"""Every check that a recipe may name, and the list that applies where it names none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.curation.candidate import Candidate, Reject
from app.curation.exact_duplicate import ExactDuplicate
from app.curation.length import Length
from app.curation.near_duplicate import NearDuplicate
from app.curation.reasoning import Reasoning
from app.curation.refusal import Refusal
from app.curation.repetition import Repetition
from app.curation.truncation import Truncation
from app.teachers.config import ReasoningMode

CurationStep = Annotated[
    Length | Truncation | Reasoning | Refusal | Repetition | ExactDuplicate | NearDuplicate,
    Field(discriminator="check"),
]


def default_curation(reasoning: ReasoningMode) -> tuple[CurationStep, ...]:
    """The list for a recipe without one: cheap checks first; reasoning is asked for unless the mode is `none`."""
    steps: list[CurationStep] = [
        Length(check="length"),
        Truncation(check="truncation"),
        Refusal(check="refusal"),
        Repetition(check="repetition"),
        ExactDuplicate(check="exact_duplicate"),
        NearDuplicate(check="near_duplicate"),
    ]
    if reasoning != "none":
        steps.insert(2, Reasoning(check="reasoning"))
    return tuple(steps)


def judge(steps: Sequence[CurationStep], candidate: Candidate) -> Reject | None:
    """The first reject in the recipe's order, or None."""
    for step in steps:
        reject = step.judge(candidate)
        if reject is not None:
            return reject
    return None
