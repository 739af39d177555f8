"""How many calls one replica is given: a level that finds itself. Pure; the clock is handed in.

Additive increase, multiplicative decrease (Chiu and Jain 1989), steered by the first of these that speaks:

refused (429, 503)       down to what the server kept; above seven tenths of that it is raised slowly
                         (slow start and congestion avoidance, Jacobson 1988)
vLLM's /metrics          many wait         -> down to those that run, and a few
                         preemptions       -> down to 0.85 of those that run: recomputed tokens are paid twice
                         KV cache full     -> held
                         few wait          -> up by one, so that workers on one server come to equal parts
                         nothing waits     -> up: doubled until something first waits, then by a twentieth
no /metrics              hill climbing on tokens a second (climb.py)

vLLM's queue is unbounded and it answers no 429 by itself, so whoever waits for a refusal never acts.
"""

from __future__ import annotations

from collections.abc import Callable

from workers.teacher.climb import Climb
from workers.teacher.engine_load import EngineLoad

KEPT_AFTER_REFUSAL = 0.7
KEPT_AFTER_PREEMPTION = 0.85
KEPT_AFTER_TIMEOUT = 0.7
ADDED = 0.05
# Of the level, in calls that may wait in vLLM: a slot that comes free there is filled in the next engine step.
QUEUE_SHARE = 0.2
MIN_QUEUE = 2
# What is left of that queue after the level was lowered.
AIM = 0.5
FULL_KV = 0.95
# After a preemption the level is not raised again for so long: requests fill the KV cache only as they grow. While
# there are more, it is lowered again after each such time, in which some calls end.
SETTLE_S = 15.0
PREEMPTED_S = 3.0
# What vLLM said last steers for so long; then it counts as silent.
FRESH_S = 10.0
PROBING = 0.25
FORGOTTEN_S = 60.0


class Concurrency:
    """One replica's level in one worker, between 1 and `most`."""

    def __init__(self, clock: Callable[[], float], *, start: int, most: int) -> None:
        self.level = float(min(start, most))
        self.reason = "start"
        self._clock = clock
        self._most = float(most)
        self._threshold = float(most)
        self._climb = Climb(self.level, self._most)
        self._load: EngineLoad | None = None
        self._loaded_at = float("-inf")
        self._crowded = False
        self.doubling = True
        self._held_until = float("-inf")
        self._timed_out_at = float("-inf")
        self._refused_at = float("-inf")
        self._preempted_at = float("-inf")
        self._busiest = 0

    @property
    def steered_by(self) -> str:
        """`metrics`, or `throughput` where they cannot be read."""
        return "metrics" if self._clock() - self._loaded_at < FRESH_S else "throughput"

    def began(self, in_flight: int) -> None:
        """A call has begun; so many are in flight with it."""
        self._busiest = max(self._busiest, in_flight)

    def answered(self, began: float, tokens: int) -> None:
        """A call was answered with so many tokens."""
        if self.steered_by == "metrics":
            return
        self._forget_refusals(self._clock())
        if self._threshold < self._most:  # it has refused before: it says itself where the end is
            self._move(self.level + (1.0 if self.level < self._threshold else PROBING / self.level), "raised: answers come")
            return
        step = self._climb.answered(began, self._clock(), tokens, self._take_limited)
        if step is not None:
            self._move(step.level, step.reason)

    def refused(self, in_flight: int, *, first_of_wave: bool) -> None:
        """429 or 503 for one of `in_flight` calls."""
        self._refused_at = self._clock()
        if first_of_wave:
            self._threshold = max(2.0, KEPT_AFTER_REFUSAL * self.level)
        self.doubling = False
        self._move(min(self.level, float(in_flight - 1)), "lowered: refused (429 or 503)")

    def timed_out(self, began: float) -> None:
        """A call took longer than it may; those that were under way with it say nothing more."""
        if began >= self._timed_out_at:
            self._timed_out_at = self._clock()
            self.doubling = False
            self._move(self.level * KEPT_AFTER_TIMEOUT, "lowered: a call timed out")
            self._climb.lowered(self.level)

    def polled(self, load: EngineLoad, in_flight: int) -> None:
        """VLLM has said how it is doing, while so many of our calls were in flight."""
        before, self._load = self._load, load
        self._loaded_at = now = self._clock()
        shown = f"{load.running} run, {load.waiting} wait, KV cache {load.kv_use:.0%}"
        self._busiest = max(self._busiest, in_flight)
        limited = self._take_limited()
        self._forget_refusals(now)
        room = max(MIN_QUEUE, int(QUEUE_SHARE * load.running))
        crowded, self._crowded = self._crowded, load.waiting > room
        if before is not None and load.preemptions > before.preemptions and load.waiting:
            self.doubling = False
            self._held_until = now + SETTLE_S
            # Not while there are more in flight than the level: what was decided has not come about yet.
            if now >= self._preempted_at + PREEMPTED_S and in_flight <= self.level + 1:
                self._preempted_at = now
                # What waits was running a moment ago, or will be: only what runs can be kept, and not all of that.
                running = in_flight * load.running / (load.running + load.waiting)
                self._move(min(self.level, running) * KEPT_AFTER_PREEMPTION, f"lowered: vLLM preempts ({shown})")
        elif load.waiting > room:
            # Twice in a row: a burst of new prompts waits for a few engine steps, and that is no queue.
            if crowded:
                self.doubling = False
                share = (load.running + room * AIM) / (load.running + load.waiting)
                self._move(min(self.level, max(1.0, in_flight * share)), f"lowered: requests wait in vLLM ({shown})")
        elif load.kv_use >= FULL_KV:
            self.doubling = False
            self.reason = f"held: the KV cache is full ({shown})"
        elif limited and now >= self._held_until:
            self._raise(load, shown)

    def _raise(self, load: EngineLoad, shown: str) -> None:
        if load.waiting:
            self.doubling = False
            self._move(self.level + 1.0, f"raised: few wait in vLLM ({shown})")
            return
        if self.level >= self._threshold:
            level = self.level + PROBING
        elif self.doubling:
            level = min(self.level * 2, self._threshold)
        else:
            level = min(self.level + max(1.0, ADDED * self.level), self._threshold)
        self._move(level, f"raised: nothing waits in vLLM ({shown})")

    def _forget_refusals(self, now: float) -> None:
        """What a server kept a minute ago says little of what it would keep now."""
        if self._threshold < self._most and now - self._refused_at > FORGOTTEN_S:
            self._threshold = self._most
            self._climb.lowered(self.level)

    def _take_limited(self) -> bool:
        """Was the level what bounded the calls since this was last asked?"""
        limited = self._busiest >= int(self.level)
        self._busiest = 0
        return limited

    def _move(self, level: float, reason: str) -> None:
        level = max(1.0, min(level, self._most))
        if level != self.level:
            self.level = level
            self.reason = reason
