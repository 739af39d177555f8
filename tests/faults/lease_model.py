"""What the lease life cycle should come to, in plain Python: the model that the state machine compares Postgres with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from app.curation.candidate import Reject
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseKey, LeaseUpdate
from workers.completion import AttemptRecord, Completion, SampleRecord

SAMPLES = 2
# What a seed of which not every sample is settled may come to (workers/retry.py makes these).
SETTLED = {
    "another try": LeaseUpdate("queued", ()),
    "teacher at fault": LeaseUpdate("queued", (), charged=False, error_class="connect", error_text="w"),
    "setback": LeaseUpdate("queued", (), charged=False, setback=True, error_class="timeout", error_text="w"),
    "setback, not due": LeaseUpdate(
        "queued", (), delay_s=3600, charged=False, setback=True, error_class="timeout", error_text="w"
    ),
    "failed": LeaseUpdate("failed", (), error_class="bad_request", error_text="w"),
    "tries used up": LeaseUpdate("done", ()),
}


@dataclass
class Seed:
    """One lease row as it should be."""

    state: str = "queued"
    token: UUID | None = None
    worker: UUID | None = None
    tries: int = 0
    setbacks: int = 0
    open: tuple[int, ...] | None = None
    due: bool = True
    error_class: str | None = None

    def leave(self, state: str) -> None:
        self.state, self.token, self.worker = state, None, None

    def lose(self) -> None:
        """What rescue does."""
        self.leave("failed" if self.setbacks + 1 >= MAX_SETBACKS else "queued")
        self.tries -= 1
        self.setbacks += 1
        self.error_class = "worker_lost"

    def apply(self, update: LeaseUpdate) -> None:
        """What a completing write with the current token does."""
        self.open = update.open_samples
        if update.state is None:
            return
        self.leave(update.state)
        self.error_class = update.error_class
        self.tries -= not update.charged
        if update.setback:
            self.setbacks += 1
        elif update.charged:
            self.setbacks = 0
        if update.state == "queued":
            self.due = update.delay_s == 0


@dataclass
class Leased:
    """One lease: what its holder knows, and which samples it has still to bring."""

    seed: LeasedSeed
    left: list[int]
    open: list[int]
    last: Completion | None = None

    @classmethod
    def of(cls, seed: LeasedSeed) -> Leased:
        asked = list(range(SAMPLES)) if seed.open_samples is None else list(seed.open_samples)
        return cls(seed, list(asked), list(asked))


@dataclass
class Model:
    """Everything that the tables should hold."""

    state: str = "running"
    seeds: dict[int, Seed] = field(default_factory=dict)
    leases: dict[UUID, Leased] = field(default_factory=dict)
    attempts: dict[tuple[int, UUID, int], str | None] = field(default_factory=dict)
    accepted: Counter[tuple[int, int]] = field(default_factory=Counter)
    rejected: int = 0

    def claimed(self, seed: LeasedSeed, worker: UUID) -> None:
        row = self.seeds[seed.key.seed_id]
        assert (row.state, row.due) == ("queued", True), "a seed was claimed that was not to be had"
        row.state, row.token, row.worker = "leased", seed.key.token, worker
        row.tries += 1
        assert (seed.tries, seed.setbacks, seed.open_samples) == (row.tries, row.setbacks, row.open)
        assert seed.key.token not in self.leases, "a token was given out twice"
        self.leases[seed.key.token] = Leased.of(seed)

    def is_current(self, key: LeaseKey) -> bool:
        row = self.seeds[key.seed_id]
        return row.state == "leased" and row.token == key.token

    def stored(self, completion: Completion) -> None:
        """One completion has been written, for the first time or again, by its holder or too late."""
        key, current = completion.key, self.is_current(completion.key)
        name = (key.seed_id, key.token, completion.sample_index)
        assert completion.attempt is not None
        if name not in self.attempts:
            self.attempts[name] = completion.attempt.error_class if current else "stale_lease"
            if current and completion.sample is not None:
                if completion.sample.reject is None:
                    self.accepted[key.seed_id, completion.sample_index] += 1
                else:
                    self.rejected += 1
        if current:
            self.seeds[key.seed_id].apply(completion.lease)

    def counts(self) -> Counter[str]:
        return Counter(seed.state for seed in self.seeds.values())


def completion_of(lease: Leased, index: int, outcome: str, settled: LeaseUpdate) -> Completion:
    """As a worker makes it: the last sample of a lease settles it, an earlier one only tells what is still open."""
    key = lease.seed.key
    sample: SampleRecord | None = SampleRecord(None, f"An answer to seed {key.seed_id}, sample {index}.", None)
    attempt = AttemptRecord("default", 1, prompt_tokens=3, completion_tokens=5, raw=b"{}")
    if outcome == "error":
        sample, attempt = None, replace(attempt, error_class="timeout", error_text="words")
    elif outcome != "accepted" and sample is not None:
        sample = replace(sample, reject=Reject("length" if outcome == "rejected" else "truncation", "words"))
    if outcome in ("accepted", "rejected"):
        lease.open.remove(index)
    lease.left.remove(index)
    if lease.left:
        update = LeaseUpdate(None, tuple(lease.open))
    elif lease.open:
        update = replace(settled, open_samples=tuple(lease.open))
    else:
        update = LeaseUpdate("done", ())
    made = Completion(key, lease.seed.recipe_revision, index, attempt, sample, update)
    lease.last = made
    return made


def row_of(seed: Seed) -> dict[str, Any]:
    """The columns that Postgres should hold."""
    return {
        "state": seed.state,
        "lease_token": seed.token,
        "worker_id": seed.worker,
        "tries": seed.tries,
        "setbacks": seed.setbacks,
        "error_class": seed.error_class,
        "open_samples": None if seed.open is None else list(seed.open),
    }
