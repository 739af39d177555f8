"""The one judge of every case: what was lost, accepted twice, or served and not stored, once the dust has settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import asyncpg

from bench.simulated_vllm import FaultKind, Stats

SEEDS = """
    SELECT s.instruction, l.state FROM seeds s LEFT JOIN leases l USING (workspace_id, dataset_id, seed_id)
    JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = $1
"""
ACCEPTED = """
    SELECT s.instruction, p.sample_index, count(*) AS times
    FROM samples p JOIN seeds s USING (workspace_id, dataset_id, seed_id)
    JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.name = $1 AND p.verdict = 'accepted' GROUP BY s.seed_id, s.instruction, p.sample_index
"""
# An answer that came too late is an answer all the same: it was served, and it is stored as an attempt.
ATTEMPTS = """
    SELECT coalesce(error_class, 'ok') AS outcome, count(*) AS times
    FROM attempts JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = $1 GROUP BY 1
"""
# What counts against the dataset's limits is kept beside the rows that it counts.
DRIFT = """
    SELECT p.attempts - (SELECT count(*) FROM attempts a WHERE a.dataset_id = p.dataset_id) AS attempts,
           p.accepted - (SELECT count(*) FROM samples s WHERE s.dataset_id = p.dataset_id AND verdict = 'accepted') AS accepted,
           p.tokens - (SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM attempts a
                       WHERE a.dataset_id = p.dataset_id) AS tokens
    FROM spending p JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = $1
"""
# Faults that spoil nothing of the answer: it was served, and is to be stored.
WHOLE = (FaultKind.CLOSE_KEEPALIVE,)
FINAL = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Finding:
    """What a case came to. `calls` are those that the teacher saw; `wasted` those beyond one an accepted sample."""

    lost: int
    duplicated: int
    calls: int
    wasted: int
    served_not_stored: int
    explained: int
    attempts: Counter[str]
    states: Counter[str]


async def judge(
    connection: asyncpg.Connection,
    name: str,
    pushed: Collection[str],
    served: Stats,
    *,
    samples_per_seed: int = 1,
    blamed: Collection[str] = (),
    explained: int = 0,
) -> Finding:
    """Check the promises on the tables themselves.

    `blamed`: instructions of seeds that may fail; every other must be done, with each sample accepted.
    `explained`: how many served answers the faults may have kept from being stored (calls in flight at each kill).
    """
    rows = await connection.fetch(SEEDS, name)
    states = Counter(row["state"] for row in rows)
    assert Counter(row["instruction"] for row in rows) == Counter(pushed), "a seed is missing, or is there twice"
    assert set(states) <= set(FINAL), f"not every seed is in a final state: {dict(states)}"
    assert states.total() == len(pushed)

    accepted = await connection.fetch(ACCEPTED, name)
    duplicated = sum(row["times"] - 1 for row in accepted)
    assert duplicated == 0, f"{duplicated} samples were accepted twice"
    held = {(row["instruction"], row["sample_index"]) for row in accepted}
    wanted = {(text, index) for text in pushed if text not in blamed for index in range(samples_per_seed)}
    missing = wanted - held
    assert not missing, f"{len(missing)} of {len(wanted)} samples are lost: {sorted(missing)[:5]}"
    undone = [row["instruction"] for row in rows if row["state"] != "done" and row["instruction"] not in blamed]
    assert not undone, f"seeds that are not done though nothing is wrong with them: {undone[:5]}"

    drift = await connection.fetchrow(DRIFT, name)
    assert drift is not None
    assert not any(drift.values()), f"what was spent is not what is stored: {dict(drift)}"

    attempts = Counter({row["outcome"]: row["times"] for row in await connection.fetch(ATTEMPTS, name)})
    answers = served.completed + sum(served.by_fault[kind.value] for kind in WHOLE)
    unstored = answers - attempts["ok"] - attempts["stale_lease"]
    assert unstored >= 0, f"{-unstored} more answers are stored than were served"
    assert unstored <= explained, f"{unstored} served answers are not stored; the faults explain {explained}"
    return Finding(
        lost=len(missing),
        duplicated=duplicated,
        calls=served.requests,
        wasted=served.requests - len(held),
        served_not_stored=unstored,
        explained=explained,
        attempts=attempts,
        states=states,
    )
