"""From rows to what the user is shown: counts that add up, the rate, warnings in words."""

from __future__ import annotations

from pydantic import ValidationError

from app.datasets.recipe import Recipe
from app.datasets.repository import DatasetRow, Funnel
from app.datasets.schemas import (
    AttemptCounts,
    Budget,
    DatasetState,
    DatasetView,
    Rate,
    SampleCounts,
    SeedCounts,
    SeedFailure,
    TeacherState,
    Tokens,
)
from app.teachers.config import Teachers
from app.teachers.diagnosis import diagnose
from app.teachers.repository import SeenTeacher

MIN_RATE_WINDOW_S = 1.0
# Errors of one seed or of a lost lease say nothing of the teacher.
SEED_ERRORS = {"bad_request", "stale_lease", "unstorable", "internal"}


def show(dataset: DatasetRow, funnel: Funnel, teachers: Teachers, seen: SeenTeacher) -> DatasetView:
    """The whole view of one dataset."""
    seeds = SeedCounts(**funnel.seeds, total=sum(funnel.seeds.values()))
    rate = _rate(funnel)
    by_reason = {reason: count for verdict, reason, count in funnel.samples if verdict == "rejected" and reason}
    by_error = {error: count for outcome, error, count, _, _ in funnel.attempts if outcome == "error" and error}
    samples = SampleCounts(
        accepted=sum(count for verdict, _, count in funnel.samples if verdict == "accepted"),
        rejected=sum(by_reason.values()),
        by_reason=by_reason,
    )
    return DatasetView(
        name=dataset.name,
        state=shown_state(dataset.state, seeds),
        paused_because=dataset.paused_because,
        recipe=dataset.recipe,
        recipe_hash=dataset.recipe_hash,
        recipe_revision=dataset.recipe_revision,
        weight=dataset.weight,
        target_accepted=dataset.target_accepted,
        budget=show_budget(dataset),
        seeds=seeds,
        samples=samples,
        attempts=AttemptCounts(
            total=sum(count for _, _, count, _, _ in funnel.attempts),
            ok=sum(count for outcome, _, count, _, _ in funnel.attempts if outcome == "ok"),
            by_error=by_error,
        ),
        tokens=Tokens(prompt=sum(row[3] for row in funnel.attempts), completion=sum(row[4] for row in funnel.attempts)),
        rate=rate,
        eta_s=_eta_s(dataset, seeds, samples, rate),
        failures=[
            SeedFailure(error_class=error or "unknown", seeds=count, example=text or "")
            for error, count, text in funnel.failures
        ],
        teacher=TeacherState(
            level=seen.level,
            level_reason=seen.level_reason,
            in_flight=seen.in_flight,
            prefix_cache_hit_rate=seen.prefix_cache_hit_rate,
            faults=list(seen.faults),
        ),
        warnings=_warnings(dataset, funnel, teachers, seen),
        created_at=dataset.created_at,
    )


def shown_state(state: str, seeds: SeedCounts) -> DatasetState:
    """The stored state, but `idle` for a running dataset with nothing queued or leased."""
    if state == "running":
        return "running" if seeds.queued or seeds.leased else "idle"
    return "paused" if state == "paused" else "cancelled"


def show_budget(dataset: DatasetRow) -> Budget:
    """The dataset's budget."""
    return Budget(attempts=dataset.budget_attempts, tokens=dataset.budget_tokens, wall_s=dataset.budget_wall_s)


def _rate(funnel: Funnel) -> Rate:
    answers, tokens, window_s = funnel.recent
    if not window_s:
        return Rate()
    window_s = max(window_s, MIN_RATE_WINDOW_S)
    return Rate(samples_per_s=round(answers / window_s, 3), completion_tokens_per_s=round(tokens / window_s, 1))


def _eta_s(dataset: DatasetRow, seeds: SeedCounts, samples: SampleCounts, rate: Rate) -> float | None:
    if dataset.state != "running" or not rate.samples_per_s:
        return None
    left: float = (seeds.queued + seeds.leased) * int(dataset.recipe["samples_per_seed"])
    if dataset.target_accepted is not None and samples.accepted:
        share = samples.accepted / (samples.accepted + samples.rejected)
        left = min(left, max(0, dataset.target_accepted - samples.accepted) / share)
    return round(left / rate.samples_per_s, 1)


def _warnings(dataset: DatasetRow, funnel: Funnel, teachers: Teachers, seen: SeenTeacher) -> list[str]:
    name = dataset.recipe.get("teacher") or "default"
    found = []
    try:
        Recipe.model_validate(dataset.recipe)
    except ValidationError as exc:
        found.append(
            f"this release cannot read the recipe, so its seeds wait ({exc.error_count()} errors): make a new dataset."
        )
    if name not in teachers.by_name:
        found.append(
            f"teacher {name!r} is no longer configured: add it to LIMBECK_TEACHERS_FILE and restart, or make a new dataset."
        )
    if seen.left_alone and dataset.state == "running":
        found.append(f"teacher {name!r} is left alone for now: {'; '.join(seen.faults)}")
    elif funnel.newest and all(error and error not in SEED_ERRORS for _, error, _ in funnel.newest):
        _, error, words = funnel.newest[0]
        found.append(f"teacher {name!r} does not answer ({error}): {words}")
    mismatch = diagnose(name, dataset.recipe.get("reasoning") or "native", funnel.first_seen)
    if mismatch:
        found.append(mismatch)
    return found
