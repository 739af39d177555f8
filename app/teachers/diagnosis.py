"""Does a teacher's reasoning setting fit what it really sends?

vLLM fills `message.reasoning` only when it was started with a reasoning parser; without one the
same model leaves <think> tags in the text. Either mistake would spoil a whole dataset, so the
first answers are looked at and the setting to change is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from app.teachers.config import ReasoningMode

LOOKED_AT = 20
ENOUGH_TO_TELL = 5

ReasoningSeen = Literal["field", "tags", "nothing"]


def diagnose(teacher: str, expected: ReasoningMode, first: Sequence[ReasoningSeen]) -> str | None:
    """The words to show the user, or None while the setting fits (or too few answers are in).

    `first` holds what the teacher's first finished answers held, oldest first; at most 20 count.
    """
    first = first[:LOOKED_AT]
    tags, field, nothing = (sum(seen == kind for seen in first) for kind in ("tags", "field", "nothing"))
    change = f"LIMBECK_TEACHER_REASONING (or `reasoning` of teacher {teacher!r} in the teachers file, or of the recipe)"
    if expected in ("native", "none") and tags:
        return (
            f"teacher {teacher!r} is set to reasoning = {expected!r}, but {tags} of its first {len(first)} answers "
            f'carry <think> tags in the text: set {change} to "tags", or start vLLM with --reasoning-parser.'
        )
    if len(first) < ENOUGH_TO_TELL:
        return None
    if expected == "native" and not field:
        return (
            f"teacher {teacher!r} is set to reasoning = 'native', but none of its first {len(first)} answers has "
            f'reasoning: set {change} to "elicited" or "none", or start vLLM with --reasoning-parser.'
        )
    if expected in ("tags", "elicited") and not tags and field:
        return (
            f"teacher {teacher!r} is set to reasoning = {expected!r}, but its reasoning arrives in a field of its own: "
            f'set {change} to "native".'
        )
    if expected in ("tags", "elicited") and nothing == len(first):
        return (
            f"teacher {teacher!r} is set to reasoning = {expected!r}, but none of its first {len(first)} answers has "
            f"<think> tags: set {change} to "
            + ('"elicited" or "none".' if expected == "tags" else '"none", or hold it to tags (elicitation.structured).')
        )
    return None
