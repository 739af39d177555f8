"""The rows: about 1 KB of JSON each, all different, with accents in one of eight and a topic as metadata."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

WORDS = (
    "amber basin candle drift ember fallow garden harbour inlet juniper kettle lantern meadow narrow orchard pebble quarry river"
    " saddle timber upland valley willow yonder copper still vapour retort alembic distil spirit of the and a to in on with for"
).split()
ACCENTED = "déjà naïve Übung señal garçon façade".split()
PARAGRAPHS = 4096
WORDS_EACH = 52


def rows(count: int) -> Iterator[dict[str, Any]]:
    """The same `count` seeds at every call."""
    chance = random.Random(7)
    paragraphs = [
        " ".join(chance.choices(WORDS if number % 8 else WORDS + ACCENTED * 3, k=WORDS_EACH)) for number in range(PARAGRAPHS)
    ]
    for number in range(count):
        place = number * 7919
        yield {
            "instruction": f"{number}: {paragraphs[place % PARAGRAPHS]}",
            "input": paragraphs[place // PARAGRAPHS % PARAGRAPHS],
            "output": paragraphs[(place * 31 + 5) % PARAGRAPHS],
            "topic": WORDS[number % len(WORDS)],
        }


def write_ndjson(path: Path, count: int) -> list[int]:
    """Write the rows a line each; returns how many bytes the first 0, 1, 2, … thousand lines take."""
    marks, size = [], 0
    with path.open("wb") as file:
        for number, row in enumerate(rows(count)):
            if number % 1000 == 0:
                marks.append(size)
            size += file.write(orjson.dumps(row) + b"\n")
    return [*marks, size]
