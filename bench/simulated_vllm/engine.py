"""The simulated engine: so many run at once, the others wait, and all share the token rate."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from bench.simulated_vllm.answers import Answer
from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.kv_cache import CHUNK, RECOMPUTED_AT, KvCache
from bench.simulated_vllm.stats import Stats
from bench.simulated_vllm.throughput import SharedThroughput

PREFIX_BLOCK = 64  # characters: vLLM's 16 tokens, at four characters each
PREFIX_BLOCKS = 200_000


class Engine:
    """`admit`, then `generate`, then `release`: what vLLM's scheduler does to a request."""

    def __init__(self, stats: Stats) -> None:
        self.stats = stats
        self.capacity = 0
        self.random = random.Random(0)
        self.throughput = SharedThroughput()
        self.cache = KvCache()
        self.queue: deque[tuple[asyncio.Future[None], int]] = deque()
        self.prefixes: dict[int, None] = {}

    def configure(self, behaviour: Behaviour) -> None:
        self.capacity = behaviour.capacity
        self.random.seed(behaviour.seed)
        self.throughput.set_rate(behaviour.tokens_per_s_total)
        self.cache.total = behaviour.kv_tokens
        self._wake()

    async def admit(self, tokens: int = 0, *, first: bool = False) -> None:
        """Wait for a slot, and for room in the cache for so many tokens; `first` is before all who wait."""
        stats = self.stats
        if self.queue or not self._has_room(tokens):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if first:
                self.queue.appendleft((turn, tokens))
            else:
                self.queue.append((turn, tokens))
            stats.waiting = len(self.queue)
            stats.waiting_peak = max(stats.waiting_peak, stats.waiting)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # woken, and cancelled in the same breath
                    self.release()
                else:
                    with suppress(ValueError):  # a wake-up may have dropped it already
                        self.queue.remove((turn, tokens))
                    stats.waiting = len(self.queue)
                raise
        else:
            self._start()

    def release(self) -> None:
        self.stats.running -= 1
        self._wake()

    async def generate(self, tokens: int, latency_s: float, prompt_tokens: int = 0) -> None:
        """Takes `latency_s`, or as long as the tokens take at the shared rate if that is more.

        Called by one who was admitted, and who is running again when it returns.
        """
        if not self.cache.total:
            await self._generate(tokens, latency_s)
            return
        done = 0
        held = self.cache.hold(prompt_tokens)
        try:
            while done < tokens:
                chunk = min(CHUNK, tokens - done)
                self.cache.grow(held, chunk)
                if held.preempted:
                    self.release()
                    try:
                        await self.admit(prompt_tokens + done + chunk, first=True)
                    except asyncio.CancelledError:
                        self.stats.running += 1  # the caller, who knows of no preemption, releases it once more
                        raise
                    held = self.cache.hold(prompt_tokens + done)
                    await self._generate((prompt_tokens + done) // RECOMPUTED_AT, 0.0)
                    continue
                await self._generate(chunk, latency_s * chunk / tokens)
                done += chunk
        finally:
            self.cache.drop(held)

    async def _generate(self, tokens: int, latency_s: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + latency_s
        if self.throughput.rate and tokens:
            await self.throughput.take(tokens)
        if (left := end - loop.time()) > 0:
            await asyncio.sleep(left)

    def latency_s(self, behaviour: Behaviour) -> float:
        if not behaviour.jitter_s:
            return behaviour.latency_s
        return max(0.0, behaviour.latency_s + behaviour.jitter_s * (2.0 * self.random.random() - 1.0))

    def account(self, prompt: str, prompt_tokens: int, made: Sequence[Answer]) -> None:
        self.stats.prompt_tokens += prompt_tokens
        for answer in made:
            self.stats.generation_tokens += answer.completion_tokens
            self.stats.by_finish[answer.finish_reason] += 1
        self._look_up_prefix(prompt, prompt_tokens)

    def _look_up_prefix(self, prompt: str, prompt_tokens: int) -> None:
        """Count, in tokens, how much of the prompt's head was seen before."""
        hits, chain, hitting = 0, 0, True
        for at in range(0, len(prompt) - PREFIX_BLOCK + 1, PREFIX_BLOCK):
            chain = hash((chain, prompt[at : at + PREFIX_BLOCK]))
            hitting = hitting and chain in self.prefixes
            hits += hitting
            self.prefixes[chain] = None
        if len(self.prefixes) > PREFIX_BLOCKS:
            self.prefixes.clear()
        self.stats.prefix_cache_queries += prompt_tokens
        self.stats.prefix_cache_hits += hits * PREFIX_BLOCK // 4

    def _start(self) -> None:
        self.stats.running += 1
        self.stats.running_peak = max(self.stats.running_peak, self.stats.running)

    def _has_room(self, tokens: int) -> bool:
        return not (self.capacity and self.stats.running >= self.capacity) and self.cache.fits(tokens)

    def _wake(self) -> None:
        while self.queue and self._has_room(self.queue[0][1]):
            turn, _ = self.queue.popleft()
            self.stats.waiting = len(self.queue)
            if not turn.done():
                # Taken here rather than where it wakes: no newcomer can slip in between.
                self._start()
                turn.set_result(None)
