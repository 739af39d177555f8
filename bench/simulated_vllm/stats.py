"""What the simulated server counts. `requests` is all of them; the others do not add up to it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

FIRST_REQUESTS = 8


@dataclass(slots=True)
class Stats:
    requests: int = 0
    first_requests_at: list[float] = field(default_factory=list)  # Unix times: a client may probe before its work starts
    in_flight: int = 0
    in_flight_peak: int = 0
    running: int = 0
    running_peak: int = 0
    waiting: int = 0
    waiting_peak: int = 0
    completed: int = 0  # good answers, given whole
    aborted: int = 0  # the client went away first, in a hang or a drip too
    by_refusal: Counter[int] = field(default_factory=Counter)  # bad requests, by status
    by_fault: Counter[str] = field(default_factory=Counter)
    by_finish: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)  # only with track_prompts
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0

    def enter(self) -> None:
        if self.requests < FIRST_REQUESTS:
            self.first_requests_at.append(time.time())
        self.requests += 1
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)

    def reset(self) -> None:
        """Zero all but the gauges: what is in flight stays in flight."""
        fresh = Stats(in_flight=self.in_flight, running=self.running, waiting=self.waiting)
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))
        self.in_flight_peak, self.running_peak = self.in_flight, self.running
        self.waiting_peak = self.waiting

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        # JSON keys are strings.
        values["by_refusal"] = {str(status): n for status, n in self.by_refusal.items()}
        return values
