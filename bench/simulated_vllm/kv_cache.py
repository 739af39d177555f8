"""The KV cache: running requests fill it as they grow, and the newest is preempted when it is full.

As in vLLM's scheduler: a preempted request waits again, keeps what it has generated, and pays for computing it anew.
"""

from __future__ import annotations

from dataclasses import dataclass

CHUNK = 32  # tokens between two looks at the cache: two of vLLM's blocks
RECOMPUTED_AT = 8  # a prefill computes so many tokens in the time of one that is generated


@dataclass(eq=False, slots=True)
class Held:
    """One running request's part of the cache, in tokens."""

    tokens: int
    preempted: bool = False


class KvCache:
    """`total` 0 is without limit."""

    def __init__(self) -> None:
        self.total = 0
        self.used = 0
        self.preemptions = 0
        self.running: list[Held] = []

    def fits(self, tokens: int) -> bool:
        """Can a request with so many tokens be admitted? One always can, else it would wait for ever."""
        return not self.total or not self.running or self.used + tokens <= self.total

    def use(self) -> float:
        return min(1.0, self.used / self.total) if self.total else 0.0

    def hold(self, tokens: int) -> Held:
        held = Held(tokens)
        self.running.append(held)
        self.used += tokens
        return held

    def grow(self, held: Held, tokens: int) -> None:
        """Make room by preempting the newest, which may be this one; nothing for one that was preempted meanwhile."""
        if held.preempted:
            return
        while self.total and self.used + tokens > self.total and len(self.running) > 1:
            newest = self.running.pop()
            self.used -= newest.tokens
            newest.preempted = True
            self.preemptions += 1
            if newest is held:
                return
        held.tokens += tokens
        self.used += tokens

    def drop(self, held: Held) -> None:
        if held in self.running:
            self.running.remove(held)
            self.used -= held.tokens
