"""Leaves a teacher alone that cannot be used, and tries it again with one call."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Gate:
    """Closed after a TeacherFault for 1, 2, 4 … 30 s (jittered); then one call may pass, and its success opens it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._faults = 0
        self._closed_until = 0.0

    def allowance(self, wanted: int, in_flight: int) -> int:
        """How many of the `wanted` calls may start now."""
        if not self._faults:
            return wanted
        if self._clock() < self._closed_until or in_flight:
            return 0
        return min(1, wanted)

    def succeeded(self) -> None:
        """A well-formed reply, or a refusal of one seed: the teacher is there."""
        self._faults = 0

    def failed(self) -> float | None:
        """A TeacherFault. Returns the pause in seconds, or None if the gate was closed already: calls in flight do not add up."""
        now = self._clock()
        if now < self._closed_until:
            return None
        self._faults += 1
        pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._faults - 1))
        pause_s *= random.uniform(0.75, 1.25)  # noqa: S311 -- jitter
        self._closed_until = now + pause_s
        return pause_s
