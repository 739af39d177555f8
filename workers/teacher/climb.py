"""The level by hill climbing on tokens a second, for servers whose own load cannot be read. Pure.

By Little's law a level that only lengthens the queue leaves the throughput as it is; latency alone would not do,
since an engine that batches answers each request more slowly long before it is full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# A step up must bring this share of what it adds, or it only made a queue.
WORTH = 0.3
# A step down may cost this share of the throughput: as good as nothing, for less queue.
FREE = 0.015
MIN_WINDOW_S = 1.0
MIN_ANSWERS = 16
FINE_STEP = 1.15
# Windows to stay where it is best before it is asked again whether the best has moved.
REST = 8


@dataclass(frozen=True, slots=True)
class Step:
    """The next level, and why."""

    level: float
    reason: str


class Climb:
    """Told of every answer; now and then it says where to go.

    A window holds the answers to calls that began after the last step, so that each level is judged by what it brought
    about itself. Its throughput is level x tokens / latencies, again by Little's law: answers that come in waves would
    make a count over time depend on where in a wave it is cut.
    """

    def __init__(self, level: float, most: float) -> None:
        self._most = most
        self._factor = 2.0
        self._kept = level
        self._kept_rate: float | None = None
        self._trial = level
        self._since: float | None = None
        self._answers = 0
        self._tokens = 0
        self._latency_s = 0.0
        self._rest = 0
        self._up = True

    def answered(self, began: float, now: float, tokens: int, limited: Callable[[], bool]) -> Step | None:
        """One more answer of so many tokens; a step when the window has seen enough.

        `limited` is asked at a window's end: False says that the level was not what bounded the calls, and nothing is learned.
        """
        if self._since is None:
            self._since = began
        if began < self._since:
            return None
        self._answers += 1
        self._tokens += max(1, tokens)
        self._latency_s += now - began
        if self._answers < max(MIN_ANSWERS, self._trial) or now - self._since < MIN_WINDOW_S:
            return None
        rate = self._trial * self._tokens / max(self._latency_s, 1e-9)
        self._open(now)
        return self._judge(rate) if limited() else None

    def _open(self, now: float | None) -> None:
        self._since, self._answers, self._tokens, self._latency_s = now, 0, 0, 0.0

    def lowered(self, level: float) -> None:
        """Somebody else lowered the level: begin anew from there, in small steps."""
        self._kept = self._trial = level
        self._kept_rate = None
        self._factor = FINE_STEP
        self._open(None)

    def _judge(self, rate: float) -> Step | None:
        if self._rest:
            self._rest -= 1
            self._kept_rate = 0.7 * (self._kept_rate or rate) + 0.3 * rate
            return self._try() if not self._rest else None
        if self._kept_rate is None:
            self._kept_rate = rate
            return self._try()
        growth = self._trial / self._kept
        gain = rate / self._kept_rate - 1.0
        better = gain >= WORTH * (growth - 1.0) if growth > 1.0 else gain >= -FREE
        if better:
            self._kept, self._kept_rate = self._trial, rate
            return self._try()
        return self._turn(gain)

    def _try(self) -> Step:
        self._trial = min(self._most, max(1.0, self._kept * (self._factor if self._up else 1.0 / self._factor)))
        way = "raised" if self._up else "lowered"
        return Step(self._trial, f"{way}: looking whether tokens a second follow")

    def _turn(self, gain: float) -> Step:
        """The trial was no better: the other way, then finer, then rest."""
        words = f"kept at {self._kept:.0f}: {self._trial:.0f} changed tokens a second by {gain:+.0%}"
        if self._up:
            self._up = False
            return Step(self._try().level, f"{words}; looking below")
        self._up = True
        if self._factor > FINE_STEP:
            self._factor = max(FINE_STEP, self._factor**0.5)
        else:
            self._rest = REST
        self._trial = self._kept
        return Step(self._kept, words)
