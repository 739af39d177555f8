"""Which of a batch's good answers repeat an accepted one, or are more than was asked for: decided under the dataset's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from app.curation.candidate import Reject
from app.curation.duplicates import Key
from app.datasets.spending import DatasetId
from workers.completion import Completion, SampleRecord
from workers.stages.records import AcceptedText, find_candidates


async def deduplicate(
    connection: AsyncConnection, completions: Sequence[Completion], limited: Mapping[DatasetId, int | None]
) -> list[Completion]:
    """The same completions in the same order, with repeats rejected; earlier ones of the batch count as accepted.

    The caller holds the datasets' store locks. Of a dataset for which `limited` says a number no more than so many are
    accepted; what is good beyond that is rejected as `surplus`.
    """
    left = {dataset: count for dataset, count in limited.items() if count is not None}
    datasets: dict[DatasetId, list[Key]] = {}
    for completion in completions:
        if completion.sample is not None:
            keys = datasets.setdefault((completion.key.workspace_id, completion.key.dataset_id), [])
            keys += [key for fingerprint in completion.sample.fingerprints for key in fingerprint.keys]
    accepted: dict[DatasetId, dict[Key, list[AcceptedText]]] = {}
    for dataset, keys in datasets.items():
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
