"""One sample's way through the stages: render -> generate -> parse -> curate; and a seed's, sample by sample."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.datasets.recipe import Recipe
from app.logs import get_logger
from app.queue.states import LeasedSeed, LeaseUpdate
from workers.completion import AttemptRecord, Completion, SampleRecord
from workers.retry import Failure, resolves, settle, storable
from workers.stages.curate import curate
from workers.stages.parse import parse
from workers.stages.render import RenderError, render
from workers.teacher.errors import Recalled, TeacherError, Unforeseen
from workers.teacher.types import ChatRequest, Reply

logger = get_logger(__name__)
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
    except Recalled as exc:
        return _failed_attempt(teacher, exc) if exc.sent else None, None, exc
    except TeacherError as exc:
        return _failed_attempt(teacher, exc), None, exc
    try:
        parsed = parse(reply, job.recipe.reasoning or "native")
        judged = curate(job.recipe, job.seed, parsed)
    except Exception as exc:
        logger.error("stage_crashed", seed_id=job.seed.key.seed_id, exc_info=exc)
        error = Unforeseen(f"{type(exc).__name__} in parsing or curation; the worker's log has the details", raw=reply.raw)
        return _failed_attempt(teacher, error), None, error
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


def _failed_attempt(teacher: str, exc: TeacherError) -> AttemptRecord:
    words = storable(exc.message)
    return AttemptRecord(teacher, exc.latency_ms, error_class=exc.error_class, error_text=words, raw=exc.raw)


async def run_seed(job: Job) -> None:
    """All open samples of one seed at once; each is stored when it is finished, the last one settles the lease."""
    asked = job.seed.open_samples if job.seed.open_samples is not None else tuple(range(job.recipe.samples_per_seed))
    still_open = list(asked)
    failures: list[Failure] = []
    left = len(asked)
    # The store reads a seed's completions in the order in which they are put; the last one settles.
    in_order = asyncio.Lock()

    async def one(sample_index: int) -> None:
        nonlocal left
        attempt, sample, failure = await run_sample(job, sample_index)
        async with in_order:
            left -= 1
            if failure is not None:
                failures.append(failure)
            elif sample is not None and resolves(job.recipe, sample.reject):
                still_open.remove(sample_index)
            lease = LeaseUpdate(None, tuple(still_open)) if left else settle(job.recipe, job.seed, still_open, failures)
            await job.put(Completion(job.seed.key, job.seed.recipe_revision, sample_index, attempt, sample, lease))

    if not asked:
        await job.put(Completion(job.seed.key, job.seed.recipe_revision, 0, None, None, LeaseUpdate("done", ())))
    elif len(asked) == 1:
        await one(asked[0])
    else:
        async with asyncio.TaskGroup() as group:
            for sample_index in asked:
                group.create_task(one(sample_index))
