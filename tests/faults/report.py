"""The table at the end of `make faults`: what each case came to, over its repeats."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

from tests.faults.oracle import Finding

REPEATS = int(os.environ.get("FAULT_REPEATS", "1"))
COLUMNS = (
    "fault",
    "repeats",
    "lost",
    "accepted twice",
    "calls",
    "repeated calls",
    "served, not stored",
    "explained",
    "recovery p50 s",
    "max s",
)


@dataclass(frozen=True)
class Row:
    """One run of one case. `recovery_s` from the fault's end to the next stored sample that the fault had held up."""

    case: str
    finding: Finding
    recovery_s: float | None


ROWS: list[Row] = []


def table(rows: list[Row]) -> str:
    """Markdown; sums over the repeats, and for what may differ from one to the next the range."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for case in dict.fromkeys(row.case for row in rows):
        mine = [row for row in rows if row.case == case]
        found = [row.finding for row in mine]
        recovery = [row.recovery_s for row in mine if row.recovery_s is not None]
        cells = [
            case,
            str(len(mine)),
            str(sum(each.lost for each in found)),
            str(sum(each.duplicated for each in found)),
            _range([each.calls for each in found]),
            _range([each.wasted for each in found]),
            _range([each.served_not_stored for each in found]),
            _range([each.explained for each in found]),
            f"{statistics.median(recovery):.2f}" if recovery else "-",
            f"{max(recovery):.2f}" if recovery else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
