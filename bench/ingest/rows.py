"""The rows: about 1 KB of JSON each, all different, with accents in one of eight and a topic as metadata."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

CONSONANTS, VOWELS = "bcdfghklmnprstvw", "aeiou"
# "bab", "bac", … and the like: 1,280 words of three letters, and some that are not ASCII.
WORDS = [first + vowel + last for first in CONSONANTS for vowel in VOWELS for last in CONSONANTS]
ACCENTED = ["déjà", "naïve", "Übung", "señal", "garçon", "façade"]
PARAGRAPHS = 4096
WORDS_EACH = 78


def rows(count: int) -> Iterator[dict[str, Any]]:
    """The same `count` seeds at every call."""
    chance = random.Random(7)
    paragraphs = [
        " ".join(chance.choices(WORDS if number % 8 else WORDS + ACCENTED * 30, k=WORDS_EACH)) for number in range(PARAGRAPHS)
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
