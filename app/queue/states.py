"""The states of a seed, and who moves it on.

queued     waits for `not_before`. A worker's claim -> leased. Cancelling the dataset -> cancelled.
leased     owned by the lease token. Its worker's store -> done, queued (another try) or failed;
           its worker's drain -> queued; rescue, when the worker's heartbeat stopped -> queued, or
           failed after too many setbacks; cancelling the dataset -> cancelled.
done       every sample is resolved: accepted, or finally rejected. Final.
failed     keeps its last error. The user's requeue -> queued.
cancelled  final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

SeedState = Literal["queued", "leased", "done", "failed", "cancelled"]

# A seed whose lease ended this often in a row through no fault of its own is taken to be the cause.
MAX_SETBACKS = 10


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """Names one lease of one seed. A write that carries a token no longer current changes nothing."""

    workspace_id: int
    dataset_id: int
    seed_id: int
    token: UUID


@dataclass(frozen=True, slots=True)
class LeasedSeed:
    """What a claim hands to a worker: the seed and where its samples stand."""

    key: LeaseKey
    recipe_revision: int
    instruction: str
    input: str
    reference: str | None
    metadata: dict[str, object]
    tries: int
    setbacks: int
    open_samples: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class LeaseUpdate:
    """What a completing write does to the lease. `state` None keeps it leased, with fewer samples open.

    `open_samples` None means all that the recipe asks for. `charged` False gives the try back; `setback` counts one more failure that was not the seed's.
    """

    state: Literal["queued", "done", "failed"] | None
    open_samples: tuple[int, ...] | None
    delay_s: float = 0.0
    charged: bool = True
    setback: bool = False
    error_class: str | None = None
    error_text: str | None = None
