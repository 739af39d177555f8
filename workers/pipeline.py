"""One sample's way through the stages: render -> generate -> parse -> curate; and a seed's, sample by sample."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.datasets.recipe import Recipe
from app.queue.states import LeasedSeed, LeaseUpdate
from workers.completion import AttemptRecord, Completion, SampleRecord
from workers.retry import Failure, resolves, settle, storable
from workers.stages.curate import curate
from workers.stages.parse import parse
from workers.stages.render import RenderError, render
from workers.teacher.errors import TeacherError
from workers.teacher.types import ChatRequest, Reply

Generate = Callable[[ChatRequest], Awaitable[Reply]]
Put = Callable[[Completion], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    """A leased seed with its recipe and the means to work on it."""

    seed: LeasedSeed
    recipe: Recipe
    generate: Generate
    put: Put


async def run_sample(job: Job, sample_index: int) -> tuple[AttemptRecord | None, SampleRecord | None, Failure | None]:
    """One attempt. No database session is held, and nothing but cancellation is raised."""
    teacher = job.recipe.teacher or "default"
    try:
        request = render(job.recipe, job.seed, sample_index)
        reply = await job.generate(request)
    except RenderError as exc:
        return None, None, exc
    except TeacherError as exc:
        words = storable(exc.message)
        return AttemptRecord(teacher, exc.latency_ms, error_class=exc.error_class, error_text=words, raw=exc.raw), None, exc
    parsed = parse(reply, job.recipe.reasoning or "native")
    judged = curate(job.recipe, job.seed, parsed)
    attempt = AttemptRecord(
        teacher,
        reply.latency_ms,
        model=reply.model and storable(reply.model)[:500],
        finish_reason=reply.finish_reason and storable(reply.finish_reason)[:100],
        reasoning_seen=parsed.seen,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        raw=reply.raw,
    )
    return attempt, SampleRecord(parsed.reasoning, parsed.response, judged.reject, judged.fingerprints), None


async def run_seed(job: Job) -> None:
    """All open samples of one seed at once; each is stored when it is finished, the last one settles the lease."""
    asked = job.seed.open_samples if job.seed.open_samples is not None else tuple(range(job.recipe.samples_per_seed))
    still_open = list(asked)
    failures: list[Failure] = []
    left = len(asked)

    async def one(sample_index: int) -> None:
        nonlocal left
        attempt, sample, failure = await run_sample(job, sample_index)
        left -= 1
        if failure is not None:
            failures.append(failure)
        elif sample is not None and resolves(job.recipe, sample.reject):
            still_open.remove(sample_index)
        lease = LeaseUpdate(None, tuple(still_open)) if left else settle(job.recipe, job.seed, still_open, failures)
        await job.put(Completion(job.seed.key, job.seed.recipe_revision, sample_index, attempt, sample, lease))

    if len(asked) == 1:
        await one(asked[0])
    else:
        async with asyncio.TaskGroup() as group:
            for sample_index in asked:
                group.create_task(one(sample_index))
