"""`python -m bench.concurrency`: tokens/s at levels set by hand, and at the level that the worker finds; a Markdown table.

Each engine is simulated: with a slot limit, with a KV cache that preempts, and with neither metrics nor a limit but a
shared token rate. The controller starts at 8 and at 2,048; what counts is its last 20 s of 50.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvloop

from app.logs import configure_logs
from app.teachers.config import Teacher
from bench.machine import heading
from tests.support.processes import simulated_teacher
from workers.teacher.engine_load import EngineLoad
from workers.teacher.pool import TeacherPool
from workers.teacher.types import ChatRequest

MOST = 4096
LEVELS = (16, 32, 64, 96, 128, 192, 256, 512)
STARTS = (8, 2048)


@dataclass(frozen=True)
class Engine:
    """A simulated engine; `metrics` False hides its /metrics from the controller."""

    name: str
    flags: tuple[str, ...]
    metrics: bool = True


@dataclass
class Count:
    tokens: int = 0
    calls: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)

    def since(self, began: float) -> float:
        """Tokens/s from then on."""
        first = next(sample for sample in self.samples if sample[0] >= began)
        last = self.samples[-1]
        return (last[1] - first[1]) / (last[0] - first[0])


ENGINES = (
    Engine("100 slots", ("--capacity", "100", "--latency-s", "1", "--jitter-s", "0.2")),
    Engine("KV cache of 12,000 tokens, 12,000 tokens/s",
           ("--kv-tokens", "12000", "--tokens-per-s-total", "12000", "--latency-s", "1", "--words", "150")),
    Engine("12,000 tokens/s, no metrics", ("--tokens-per-s-total", "12000", "--latency-s", "1"), metrics=False),
)  # fmt: skip


@asynccontextmanager
async def driven(pool: TeacherPool, places: int) -> AsyncIterator[Count]:
    """So many callers, each asking again as soon as it is answered."""
    count = Count()

    async def caller(number: int) -> None:
        while True:
            number += places
            messages = ({"role": "user", "content": f"Say something of number {number}."},)
            reply = await pool.generate(ChatRequest(messages=messages, parameters={}))
            count.tokens += reply.completion_tokens
            count.calls += 1
            count.samples.append((time.perf_counter(), count.tokens))

    tasks = [asyncio.create_task(caller(number)) for number in range(places)]
    try:
        yield count
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(engine: Engine, *, start: int, most: int, steered: bool, warm_s: float, run_s: float) -> tuple[float, int]:
    """(tokens/s, the level at the end) on a fresh server."""
    async with simulated_teacher(*engine.flags) as url:
        pool = TeacherPool(Teacher(urls=(url,), model="simulated", start_in_flight=start), most)
        if not (steered and engine.metrics):
            pool.replicas[0].client.engine_load = nothing  # type: ignore[method-assign]
        if not steered:
            pool.replicas[0].concurrency.answered = unsteered  # type: ignore[method-assign]
        async with pool, driven(pool, most) as count:
            await asyncio.sleep(warm_s)
            began = time.perf_counter()
            await asyncio.sleep(run_s)
            return count.since(began), round(pool.replicas[0].concurrency.level)


async def nothing() -> EngineLoad | None:
    return None


def unsteered(began: float, tokens: int) -> None:
    """A level set by hand stays where it is."""


async def main(quick: bool, only: int | None) -> None:
    print(heading("python -m bench.concurrency"))
    print("| engine | best by hand | from 8 | of best | from 2,048 | of best |\n|---|---|---|---|---|---|")
    for engine in ENGINES if only is None else ENGINES[only : only + 1]:
        swept = {}
        for level in LEVELS:
            swept[level], _ = await measure(engine, start=level, most=level, steered=False, warm_s=4, run_s=8 if quick else 20)
        best = max(swept, key=lambda level: swept[level])
        cells = [f"{swept[best]:.0f} tokens/s at {best}"]
        for start in STARTS:
            rate, level = await measure(engine, start=start, most=MOST, steered=True, warm_s=30, run_s=10 if quick else 20)
            cells += [f"{rate:.0f} tokens/s at {level}", f"{rate / swept[best]:.1%}"]
        print(f"| {engine.name} | {' | '.join(cells)} |", flush=True)
        shown = ", ".join(f"{level}: {rate:.0f}" for level, rate in swept.items())
        print(f"\nSwept: {shown}\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=int, choices=range(len(ENGINES)))
    arguments = parser.parse_args()
    configure_logs("warning")
    uvloop.run(main(arguments.quick, arguments.only))
