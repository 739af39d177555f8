"""Which of a batch's good answers repeat an accepted one, or are more than was asked for: decided under the dataset's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.curation.candidate import Reject
from app.curation.duplicates import Key
from app.datasets.spending import DatasetId
from app.samples.repository import LOCK_STORES, SHARE_STORES
from workers.completion import Completion, SampleRecord
from workers.stages.records import AcceptedText, find_candidates


async def lock_dataset(connection: AsyncConnection, dataset: DatasetId, *, alone: bool) -> None:
    """Take the dataset's store lock until the transaction ends.

    Alone, to compare with what is accepted; shared, by whoever compares nothing: an export must still be
    able to wait for it (app/samples/repository.py).
    """
    statement = LOCK_STORES if alone else SHARE_STORES
    await statement.rows(connection, workspace_id=dataset[0], dataset_id=dataset[1])


def keys_of(completions: Sequence[Completion]) -> dict[DatasetId, list[Key]]:
    """What their samples are looked up by, for each dataset with samples."""
    keys: dict[DatasetId, list[Key]] = {}
    for completion in completions:
        if completion.sample is not None:
            own = keys.setdefault((completion.key.workspace_id, completion.key.dataset_id), [])
            own += [key for fingerprint in completion.sample.fingerprints for key in fingerprint.keys]
    return keys


async def deduplicate(
    connection: AsyncConnection, completions: Sequence[Completion], limited: Mapping[DatasetId, int | None]
) -> list[Completion]:
    """The same completions in the same order, with repeats rejected; earlier ones of the batch count as accepted.

    The caller holds the datasets' store locks. Of a dataset for which `limited` says a number no more than so many are
    accepted; what is good beyond that is rejected as `surplus`.
    """
    left = {dataset: count for dataset, count in limited.items() if count is not None}
    accepted: dict[DatasetId, dict[Key, list[AcceptedText]]] = {}
    for dataset, keys in keys_of(completions).items():
        accepted[dataset] = await find_candidates(connection, *dataset, keys)
    return [_decide(completion, accepted, left) for completion in completions]


def _decide(
    completion: Completion, accepted: dict[DatasetId, dict[Key, list[AcceptedText]]], left: dict[DatasetId, int]
) -> Completion:
    sample = completion.sample
    if sample is None or sample.reject is not None:
        return completion
    dataset = completion.key.workspace_id, completion.key.dataset_id
    known = accepted[dataset]
    reject = _repeat(completion.key.seed_id, sample, known)
    if reject is None and dataset in left:
        if left[dataset] > 0:
            left[dataset] -= 1
        else:
            reject = Reject("surplus", "good, but the dataset has as many accepted samples as it asked for")
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
