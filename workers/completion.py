"""What a worker has to store: one attempt, the sample it gave, and what it means for the lease."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.curation.candidate import Reject
from app.curation.duplicates import Fingerprint
from app.queue.states import LeaseKey, LeaseUpdate

UNSTORABLE = "unstorable"
STALE = "stale_lease"
MAX_RAW_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One teacher call, as it is stored. `error_class` None is outcome `ok`."""

    teacher: str
    latency_ms: int
    model: str | None = None
    error_class: str | None = None
    error_text: str | None = None
    finish_reason: str | None = None
    reasoning_seen: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One parsed answer, as it is stored. `reject` None is accepted, unless a fingerprint says otherwise."""

    reasoning: str | None
    response: str
    reject: Reject | None
    fingerprints: tuple[Fingerprint, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished attempt (None where the seed could not even be rendered) and the lease's next state."""

    key: LeaseKey
    recipe_revision: int
    sample_index: int
    attempt: AttemptRecord | None
    sample: SampleRecord | None
    lease: LeaseUpdate

    def refused(self, words: str) -> Completion:
        """The same without anything that the database might refuse: the seed fails and says why."""
        attempt = self.attempt and replace(
            self.attempt, error_class=UNSTORABLE, error_text=words, raw=None, model=None, finish_reason=None
        )
        still_open = None if self.lease.open_samples is None else tuple(sorted({*self.lease.open_samples, self.sample_index}))
        failed = LeaseUpdate("failed", still_open, error_class=UNSTORABLE, error_text=words)
        return replace(self, attempt=attempt, sample=None, lease=failed)
