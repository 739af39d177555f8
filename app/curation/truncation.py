"""truncation: an answer that the teacher calls finished, and that yet breaks off.

An answer cut by the token limit (finish_reason `length`) never gets this far: parsing rejects it
under the same reason. This check is for the rest: an open code fence, a last line that promises
more. It is deliberately narrow, since a missing full stop is no proof of anything.
"""

from __future__ import annotations

import re
from typing import Literal

from app.curation.candidate import Candidate, Reject
from app.curation.check import Check

# A fence may stand on a list marker's line. The info string of a backtick fence holds no backtick
# (CommonMark 0.31, 4.5), which tells a fence from a code span.
FENCE = re.compile(r"^([ \t>]*)((?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(`{3,}(?=[^`\n]*$)|~{3,})([^\n]*)$", re.MULTILINE)
INDENTED = re.compile(r"\t| {4}")
# Punctuation that always continues; `:(` and `;(` are faces.
CONTINUES = re.compile(r"(?:[,:\[{–—]|(?<![:;=-])\()\Z")
BARE_MARKER = re.compile(r"\n[ \t]*([-*+•]|\d{1,3}[.)])[ \t]*\Z")
ITEM = re.compile(r"^[ \t]*([-*+•]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
LOOKED_AT_CHARS = 2000


class Truncation(Check):
    """`fences` looks for a code fence that is never closed, `dangling` at the very last characters."""

    check: Literal["truncation"]
    fences: bool = True
    dangling: bool = True

    def judge(self, candidate: Candidate) -> Reject | None:
        text = candidate.response.rstrip()
        if self.fences and has_open_fence(text):
            return self.reject("a code fence is opened and never closed")
        if self.dangling and (end := dangling_end(text[-LOOKED_AT_CHARS:])):
            return self.reject(f"breaks off after {end!r}")
        return None


def has_open_fence(text: str) -> bool:
    """A fence closes with the same character, at least as many of it, and nothing after it (CommonMark 0.31, 4.5)."""
    opened: str | None = None
    for match in FENCE.finditer(text):
        indent, marker, fence, rest = match.groups()
        if opened is None:
            if marker or not INDENTED.match(indent):  # deeper, it is indented code that shows a fence
                opened = fence
        elif fence[0] == opened[0] and len(fence) >= len(opened) and not rest.strip():
            opened = None
    return opened is not None


def dangling_end(tail: str) -> str | None:
    """What the text breaks off after: punctuation that continues, or the empty next item of a list."""
    if match := CONTINUES.search(tail):
        return match.group()
    marker = BARE_MARKER.search(tail)
    if marker and any(_same_list(item.group(1), marker.group(1)) for item in ITEM.finditer(tail, 0, marker.start())):
        return marker.group(1)
    return None


def _same_list(one: str, other: str) -> bool:
    return one == other if not one[0].isdigit() else other[0].isdigit() and one[-1] == other[-1]
