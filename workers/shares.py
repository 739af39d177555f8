"""How a teacher's free places are shared among the datasets that have seeds due: by weight, workspace first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

DatasetId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Claimant:
    """A dataset with seeds due: (workspace, dataset), its weight, and the places that it holds already."""

    key: DatasetId
    weight: float
    held: int


def share(room: int, claimants: list[Claimant]) -> Mapping[DatasetId, int]:
    """`room` places divided among the claimants, so that held and given together come nearest to fair.

    Every workspace counts the same, whatever it runs, and a workspace's datasets divide its part by weight: one
    tenant's flood of datasets does not starve another. Nothing is left over. Places are whole, so who comes first in
    `claimants` gets the last one; a caller that has more claimants than places should rotate the list.
    """
    if room <= 0 or not claimants:
        return {}
    weights = _weights(claimants)
    capacity = room + sum(claimant.held for claimant in claimants)
    # Who holds more than its part already gets nothing, and its surplus is not there for the others.
    while True:
        total = sum(weights.values())
        over = [c for c in claimants if c.key in weights and c.held > capacity * weights[c.key] / total]
        if not over:
            break
        for claimant in over:
            capacity -= claimant.held
            del weights[claimant.key]
    total = sum(weights.values())
    owed = {c.key: capacity * weights[c.key] / total - c.held for c in claimants if c.key in weights}
    given = {key: int(part) for key, part in owed.items()}
    for key in sorted(owed, key=lambda key: given[key] - owed[key])[: room - sum(given.values())]:
        given[key] += 1
    return {key: places for key, places in given.items() if places}


def _weights(claimants: list[Claimant]) -> dict[DatasetId, float]:
    of_workspace: Counter[int] = Counter()
    for claimant in claimants:
        of_workspace[claimant.key[0]] += claimant.weight  # type: ignore[assignment]  # a Counter holds floats as well
    return {claimant.key: claimant.weight / of_workspace[claimant.key[0]] for claimant in claimants}
