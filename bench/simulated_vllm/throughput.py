"""The token rate that all running requests share, which gives the simulated server its knee."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class SharedThroughput:
    """Processor sharing: `rate` tokens/s, split evenly among those that want some.

    Virtual time is tokens given to each; it runs at rate / (how many want some), and a request of
    t tokens is done t after the virtual time at which it came.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        self.virtual, self.seen_at = 0.0, 0.0
        self.wanting: list[tuple[float, int, asyncio.Future[None]]] = []
        self.order = count()
        self.timer: asyncio.TimerHandle | None = None

    def set_rate(self, rate: float) -> None:
        if self.wanting:
            self._advance()
        self.rate = rate
        self._settle()

    async def take(self, tokens: int) -> None:
        loop = asyncio.get_running_loop()
        self._advance()
        done: asyncio.Future[None] = loop.create_future()
        entry = (self.virtual + tokens, next(self.order), done)
        heapq.heappush(self.wanting, entry)
        self._settle()
        try:
            await done
        except asyncio.CancelledError:
            if entry in self.wanting:
                self._advance()
                self.wanting.remove(entry)
                heapq.heapify(self.wanting)
                self._settle()
            raise

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.wanting:
            self.virtual += (now - self.seen_at) * self.rate / len(self.wanting)
        self.seen_at = now

    def _settle(self) -> None:
        """Let go who is done, and set the timer for the next."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while self.wanting and (not self.rate or self.wanting[0][0] <= self.virtual + 1e-6):
            done = heapq.heappop(self.wanting)[2]
            if not done.done():
                done.set_result(None)
        if self.wanting:
            delay_s = (self.wanting[0][0] - self.virtual) * len(self.wanting) / self.rate
            self.timer = asyncio.get_running_loop().call_later(delay_s, self._fire)

    def _fire(self) -> None:
        self._advance()
        self._settle()
