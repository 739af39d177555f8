"""Whether a seed is tried again, and when: the one table. Pure functions of what happened.

what happened                        the seed                               charged to the seed
teacher fault (connect, 401, 404,    queued again; the breaker decides when no
  429, 502, 503, 504, wrong model)   the replica is asked again
passing fault (timeout, lost, 500,   queued after 1, 2, 4 … 60 s, jittered; no, but the tenth in a row
  bad reply, abort)                  failed after the tenth in a row        fails it
refused by the teacher (400, 422)    failed, with the teacher's words       -
render error                         failed, with the reason                -
truncation, empty, unfinished,       queued again at once, up to the        yes
  unclosed reasoning                 recipe's max_attempts; then done
every other reject, and acceptance   done                                   yes
dataset paused, cancelled (recalled) queued again (cancelled: stays so)     no
worker lost (rescue), drained        queued again                           no (setback; no)
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from app.curation.candidate import Reject
from app.datasets.recipe import Recipe
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseUpdate
from workers.stages.render import RenderError
from workers.teacher.errors import PassingFault, Recalled, TeacherError, TeacherFault

RETRIED_REASONS = frozenset({"truncation", "empty", "unfinished", "unclosed_reasoning"})
LONGEST_BACKOFF_S = 60.0

Failure = TeacherError | RenderError


def resolves(recipe: Recipe, reject: Reject | None) -> bool:
    """Is the sample settled by this verdict? A greedy teacher would only say the same again."""
    return reject is None or reject.reason not in RETRIED_REASONS or recipe.sampling.temperature == 0


def settle(recipe: Recipe, seed: LeasedSeed, open_samples: Sequence[int], failures: Sequence[Failure]) -> LeaseUpdate:
    """What becomes of a seed once every sample that the lease asked for has been tried."""
    if not open_samples:
        return LeaseUpdate("done", ())
    # A seed of which nothing is settled is left as it came: a later recipe revision may ask for another number.
    untouched = seed.open_samples is None and len(open_samples) == recipe.samples_per_seed
    still_open = None if untouched else tuple(open_samples)
    for failure in failures:
        if not isinstance(failure, TeacherFault | PassingFault | Recalled):
            return _failed(still_open, failure)
    for failure in failures:
        if isinstance(failure, PassingFault):
            if seed.setbacks + 1 >= MAX_SETBACKS:
                return _failed(still_open, failure)
            return _again(still_open, failure, delay_s=backoff_s(seed.setbacks), setback=True)
    for failure in failures:
        return _again(still_open, failure, delay_s=0.0, setback=False)
    if seed.tries >= recipe.max_attempts:
        return LeaseUpdate("done", ())
    return LeaseUpdate("queued", still_open)


def backoff_s(setbacks: int) -> float:
    """1, 2, 4 … 60 seconds, between half and the whole of it, so that failures do not come back in step."""
    return min(LONGEST_BACKOFF_S, 2.0**setbacks) * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter


def _failed(still_open: tuple[int, ...] | None, failure: Failure) -> LeaseUpdate:
    return LeaseUpdate("failed", still_open, error_class=failure.error_class, error_text=storable(str(failure)))


def _again(still_open: tuple[int, ...] | None, failure: Failure, *, delay_s: float, setback: bool) -> LeaseUpdate:
    return LeaseUpdate(
        "queued",
        still_open,
        delay_s=delay_s,
        charged=False,
        setback=setback,
        error_class=failure.error_class,
        error_text=storable(str(failure)),
    )


def storable(words: str) -> str:
    """An error's words as Postgres can hold them."""
    return words.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:4000]
