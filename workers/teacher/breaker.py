"""Whether a replica is called at all: left alone for a while after a fault, then tried with one call.

Closed: calls go through. Open: none, for 1, 2, 4 … 30 s after a fault that no answer contradicts. Half open: one
call, whose outcome decides (Nygard, Release It!, 2007).
"""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# This many passing faults with no answer between them, and it is the teacher, not the seeds.
PASSING_IN_A_ROW = 20


class Breaker:
    """One replica's breaker in one worker. Outcomes are told with the time at which their call began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.words: str | None = None
        self._clock = clock
        self._faults = 0
        self._passing = 0
        self._last_fault = float("-inf")
        self._open_until = float("-inf")
        self._probe: float | None = None
        self._needs_mending = False

    @property
    def troubled(self) -> bool:
        """Open or half open."""
        return self._faults > 0

    def allows(self) -> bool:
        """May a call start now?"""
        return not self._faults or (self._clock() >= self._open_until and self._probe is None)

    def opens_in_s(self) -> float:
        """Seconds until a probe may start; 0 when it may now."""
        return max(0.0, self._open_until - self._clock()) if self._faults else 0.0

    def began(self, began: float) -> None:
        """A call starts; while there is trouble it is the probe."""
        if self._faults:
            self._probe = began

    def ended(self, began: float) -> None:
        """A call has ended, whatever came of it."""
        if began == self._probe:
            self._probe = None

    def answered(self, began: float) -> None:
        """A well-formed reply, or a refusal of one seed: the replica is there."""
        self._passing = 0
        if began >= self._last_fault:  # an answer to an older call says nothing of what came after
            self._faults = 0
            self.words = None

    def same_wave(self, began: float) -> bool:
        """Did this call begin before the last fault was seen?"""
        return began < self._last_fault

    def seen_alive(self, after_s: float) -> None:
        """The server answers something else, with a probe under way for so long: that is enough, unless what ails it
        needs somebody's hand (a key, a model's name).
        """
        if self._probe is not None and not self._needs_mending and self._clock() - self._probe >= after_s:
            self.answered(self._probe)

    def failed(self, began: float, words: str, *, needs_mending: bool = False) -> float | None:
        """The replica cannot be used. Returns the pause in seconds; None if an earlier call of the same wave said so."""
        if self.same_wave(began):
            return None
        now = self._clock()
        self._last_fault = now
        self._faults += 1
        self._needs_mending = needs_mending
        self.words = words
        pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._faults - 1))
        pause_s *= random.uniform(0.75, 1.25)  # noqa: S311 -- jitter
        self._open_until = now + pause_s
        return pause_s

    def stumbled(self, began: float, words: str) -> float | None:
        """A passing fault; many in a row open the breaker as `failed` does."""
        self._passing += 1
        if self._passing < PASSING_IN_A_ROW and not self._faults:
            return None
        return self.failed(began, words)

    def overloaded(self, began: float) -> None:
        """Refused for now by a replica that answers others: the wave is noted, nothing is opened."""
        if not self.same_wave(began):
            self._last_fault = self._clock()
