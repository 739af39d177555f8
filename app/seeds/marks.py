"""Long runs of combining marks, which no script writes and which Unicode normalisation sorts in quadratic time.

One line of 160 KB in which two marks alternate was seen to take ten seconds to normalise, a line of 1 MiB minutes.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import takewhile

# UAX #15 calls a text stream-safe with 30; decorated ("zalgo") text was seen with more.
MAX_MARKS = 100
LAST = 0x1E94A
# No marks themselves, but they decompose into nothing else.
DECOMPOSED = "\u0f73\u0f75\u0f81"


def has_long_run(text: str) -> bool:
    """Do more than MAX_MARKS combining marks stand in a row somewhere?"""
    if len(text) <= MAX_MARKS:
        return False
    marks = _marks()
    # A run that long covers one of these places, so the others need no look.
    for place in range(0, len(text), MAX_MARKS):
        if text[place] in marks:
            after = text[place : place + MAX_MARKS + 1]
            before = text[max(0, place - MAX_MARKS) : place][::-1]
            if _length(after, marks) + _length(before, marks) > MAX_MARKS:
                return True
    return False


@cache
def _marks() -> frozenset[str]:
    return frozenset(filter(unicodedata.combining, map(chr, range(0x300, LAST + 1)))).union(DECOMPOSED)


def _length(text: str, marks: frozenset[str]) -> int:
    return sum(1 for _ in takewhile(marks.__contains__, text))
