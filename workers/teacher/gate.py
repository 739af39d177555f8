"""How many calls a teacher is given: fewer when it says that it has too many, one at a time when it cannot be used.

Three states. Open: up to `level` calls. A 429 or 503 lowers the level to what the teacher kept; answers
raise it, fast up to seven tenths of where it was refused and slowly beyond (slow start and congestion
avoidance; Jacobson 1988). Closed: none, for 1, 2, 4 … 30 s after a fault that no answer contradicts.
Half open: one call, whose outcome decides.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
DECREASE = 0.7
PROBING = 0.25  # of a call a round, beyond the threshold
# This many passing faults with no answer between them, and it is the teacher, not the seeds.
PASSING_IN_A_ROW = 20


class Gate:
    """One teacher's gate in one worker. Outcomes are told with the time at which their call entered."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self.level = float(most)
        self.in_flight = 0
        self._clock = clock
        self._most = most
        self._faults = 0
        self._passing = 0
        self._threshold = float(most)
        self._answers = 0
        self._last_fault = float("-inf")
        self._closed_until = float("-inf")
        self._probing = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def troubled(self) -> bool:
        """Closed or half open."""
        return self._faults > 0

    def room(self) -> int:
        """How many calls may start now."""
        if self._faults:
            return 1 if self._may_start() and not self._waiting else 0
        return max(0, int(self.level) - self.in_flight - len(self._waiting))

    async def enter(self) -> float:
        """Wait for a turn; returns when the call began, for `leave`."""
        while not self._may_start():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._set_alarm()
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                else:
                    self._wake()  # the turn was given and is passed on
                raise
        self.in_flight += 1
        self._probing = self._faults > 0
        return self._clock()

    def leave(self) -> None:
        """The call that had entered has ended, whatever came of it."""
        self.in_flight -= 1
        self._probing = False
        self._wake()

    def answered(self, began: float) -> None:
        """A well-formed reply, or a refusal of one seed: the teacher is there."""
        self._passing = 0
        if began >= self._last_fault:  # an answer to an older call says nothing of what came after
            self._faults = 0
        self._answers += 1
        step = 1.0 if self.level < self._threshold else PROBING / self.level
        self.level = min(float(self._most), self.level + step)

    def failed(self, began: float, *, overloaded: bool = False) -> float | None:
        """The teacher cannot be used. Returns the pause in seconds; None if an earlier call of the same wave said so."""
        same_wave = began < self._last_fault
        if overloaded:
            if not same_wave:
                self._threshold = max(2.0, DECREASE * self.level)
            self.level = max(1.0, min(self.level, float(self.in_flight - 1)))
        if same_wave:
            return None
        now = self._clock()
        answers, self._answers = self._answers, 0
        self._last_fault = now
        if overloaded and answers and not self._faults:
            return None  # it is there and has its hands full: the lower level is enough
        self._faults += 1
        pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._faults - 1))
        pause_s *= random.uniform(0.75, 1.25)  # noqa: S311 -- jitter
        self._closed_until = now + pause_s
        return pause_s

    def stumbled(self, began: float) -> float | None:
        """A passing fault; many in a row close the gate as `failed` does."""
        self._passing += 1
        if self._passing < PASSING_IN_A_ROW and not self._faults:
            return None
        return self.failed(began)

    def _may_start(self) -> bool:
        if self._faults:
            return self._clock() >= self._closed_until and not self._probing
        return self.in_flight < max(1, int(self.level))

    def _wake(self) -> None:
        free = 1 if self._faults else max(1, int(self.level)) - self.in_flight
        while self._waiting and free > 0 and self._may_start():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        delay_s = max(0.0, self._closed_until - self._clock()) if self._faults else 1.0
        self._alarm = asyncio.get_running_loop().call_later(delay_s + 0.01, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()
        if self._waiting:
            self._set_alarm()
