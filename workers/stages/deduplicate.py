"""Which of a batch's accepted answers repeat an accepted one: decided under the dataset's lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.curation.candidate import Reject
from app.curation.duplicates import Key
from app.samples.repository import LOCK_STORES, SHARE_STORES
from workers.completion import Completion, SampleRecord
from workers.stages.records import AcceptedText, find_candidates


async def lock_dataset(connection: AsyncConnection, workspace_id: int, dataset_id: int, *, alone: bool) -> None:
    """Take the dataset's store lock until the transaction ends.

    Alone, to compare with what is accepted; shared, by whoever compares nothing: an export must still be
    able to wait for it (app/samples/repository.py).
    """
    statement = LOCK_STORES if alone else SHARE_STORES
    await statement.rows(connection, workspace_id=workspace_id, dataset_id=dataset_id)


async def deduplicate(connection: AsyncConnection, completions: Sequence[Completion]) -> list[Completion]:
    """The same completions in the same order, with repeats rejected; earlier ones of the batch count as accepted."""
    datasets: dict[tuple[int, int], list[Key]] = {}
    for completion in completions:
        if completion.sample is not None:
            keys = datasets.setdefault((completion.key.workspace_id, completion.key.dataset_id), [])
            keys += [key for fingerprint in completion.sample.fingerprints for key in fingerprint.keys]
    accepted: dict[tuple[int, int], dict[Key, list[AcceptedText]]] = {}
    for dataset in sorted(datasets):  # one order for all, so that two stores never wait for each other
        await lock_dataset(connection, *dataset, alone=bool(datasets[dataset]))
        accepted[dataset] = await find_candidates(connection, *dataset, datasets[dataset])
    return [_decide(completion, accepted) for completion in completions]


def _decide(completion: Completion, accepted: dict[tuple[int, int], dict[Key, list[AcceptedText]]]) -> Completion:
    sample = completion.sample
    if sample is None or not sample.fingerprints:
        return completion
    known = accepted[completion.key.workspace_id, completion.key.dataset_id]
    reject = _repeat(completion.key.seed_id, sample, known)
    if reject is not None:
        return replace(completion, sample=replace(sample, reject=reject, fingerprints=()))
    own = AcceptedText(completion.key.seed_id, sample.response, sample.reasoning)
    for fingerprint in sample.fingerprints:
        for key in fingerprint.keys:
            known.setdefault(key, []).append(own)
    return completion


def _repeat(seed_id: int, sample: SampleRecord, known: dict[Key, list[AcceptedText]]) -> Reject | None:
    for fingerprint in sample.fingerprints:
        seen: set[int] = set()
        for key in fingerprint.keys:
            for other in known.get(key, ()):
                if id(other) in seen:
                    continue
                seen.add(id(other))
                reject = fingerprint.same_as(other.text(fingerprint.check.on), same_seed=other.seed_id == seed_id)
                if reject is not None:
                    return reject
    return None
