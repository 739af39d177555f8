"""Parsed answer -> verdict, by the recipe's checks in their order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from app.curation.candidate import Candidate, Reject
from app.curation.duplicates import Fingerprint, fingerprints
from app.curation.registry import judge
from app.datasets.recipe import Recipe
from app.queue.states import LeasedSeed
from workers.stages.parse import Parsed


@dataclass(frozen=True, slots=True)
class Judged:
    """`reject` None is accepted, unless the store finds one of the fingerprints among what is accepted already."""

    parsed: Parsed
    reject: Reject | None
    fingerprints: tuple[Fingerprint, ...] = ()


def curate(recipe: Recipe, seed: LeasedSeed, parsed: Parsed) -> Judged:
    """The first reject: the parser's own, then the checks'."""
    if parsed.reject is not None:
        return Judged(parsed, parsed.reject)
    candidate = Candidate(seed.instruction, seed.input, parsed.reasoning, parsed.response)
    steps = recipe.curation or ()
    reject = judge(steps, candidate)
    if reject is not None:
        return Judged(parsed, reject)
    return Judged(parsed, None, fingerprints(steps, candidate, seed.key.seed_id))
