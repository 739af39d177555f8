"""How texts are compared: normal form, shingles, MinHash bands, exact Jaccard. Pure; the store decides with it."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from rensa import RMinHash

from app.curation.candidate import Candidate, Reject, TextField
from app.curation.exact_duplicate import ExactDuplicate
from app.curation.near_duplicate import NearDuplicate
from app.curation.registry import CurationStep

BANDS, ROWS = 16, 8
MINHASH_SEED = 42
DIGEST = struct.Struct(f"<{BANDS * ROWS}I")
BAND_BYTES = 4 * ROWS
# Scripts written without spaces (Han, kana, Hangul, Thai) count a word a character.
UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
EXACT_SLOT = 0
# Slots 1..16 hold the bands of one near_duplicate entry; each further field or shingle size has its own range.
FIELD_SLOTS = 1024
SHINGLE_SLOTS = 32

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What one check looks a text up by. `keys` are (slot, key) pairs; one in common makes a candidate."""

    check: ExactDuplicate | NearDuplicate
    keys: tuple[Key, ...]
    text: str
    shingles: frozenset[str]
    long_enough: bool

    def same_as(self, other_text: str, *, same_seed: bool) -> Reject | None:
        """Does this text repeat the accepted `other_text`? Exact, whatever brought the two together."""
        if isinstance(self.check, ExactDuplicate):
            if (same_seed or self.long_enough) and normalise(other_text) == self.text:
                return self.check.reject(f"the same {self.check.on} is already accepted")
            return None
        similarity = jaccard(self.shingles, shingle(normalise(other_text), self.check.shingle))
        limit = self.check.same_seed_threshold if same_seed else self.check.threshold
        if similarity >= limit:
            return self.check.reject(
                f"{similarity:.2f} similar (Jaccard, {self.check.shingle}-word shingles) to an accepted {self.check.on}; limit {limit:g}"
            )
        return None


def fingerprints(steps: Sequence[CurationStep], candidate: Candidate, seed_id: int) -> tuple[Fingerprint, ...]:
    """One fingerprint for each duplicate check in the recipe that the text is long enough for."""
    found = []
    cut: dict[TextField, tuple[str, list[str]]] = {}
    for step in steps:
        if isinstance(step, ExactDuplicate | NearDuplicate):
            if step.on not in cut:
                text = normalise(candidate.text(step.on))
                cut[step.on] = text, WORD.findall(text)
            fingerprint = _fingerprint(step, *cut[step.on], seed_id)
            if fingerprint is not None:
                found.append(fingerprint)
    return tuple(found)


def _fingerprint(check: ExactDuplicate | NearDuplicate, text: str, words: list[str], seed_id: int) -> Fingerprint | None:
    if not words:
        return None
    base = FIELD_SLOTS * (check.on == "reasoning")
    if isinstance(check, ExactDuplicate):
        # A short text is compared within its seed only, so its key holds the seed: "Yes." may stand a million times.
        long_enough = len(words) >= check.min_words
        content = text if long_enough else f"{seed_id}\0{text}"
        return Fingerprint(
            check, ((base + EXACT_SLOT, hash64(content.encode("utf-8", "surrogatepass"))),), text, frozenset(), long_enough
        )
    if len(words) < max(check.min_words, check.shingle):
        return None
    shingles = _shingles(words, check.shingle)
    first = base + 1 + SHINGLE_SLOTS * (check.shingle - 1)
    keys = tuple((first + band, key) for band, key in enumerate(band_keys(shingles)))
    return Fingerprint(check, keys, text, shingles, long_enough=True)


def normalise(text: str) -> str:
    """Case folded, every run of white space one space."""
    return " ".join(text.casefold().split())


def shingle(text: str, size: int) -> frozenset[str]:
    """The runs of `size` words (punctuation counts as words) of a normalised text."""
    return _shingles(WORD.findall(text), size)


def _shingles(words: list[str], size: int) -> frozenset[str]:
    if len(words) <= size:
        return frozenset([" ".join(words)])
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(size)), strict=False)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """|A ∩ B| / |A ∪ B|; two empty sets are 1."""
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def band_keys(shingles: frozenset[str]) -> list[int]:
    """16 signed 64-bit keys, one a band of 8 MinHash values."""
    minhash = RMinHash(num_perm=BANDS * ROWS, seed=MINHASH_SEED)
    minhash.update(list(shingles))  # a minimum does not ask for an order
    packed = DIGEST.pack(*minhash.digest())
    return [hash64(packed[start : start + BAND_BYTES]) for start in range(0, len(packed), BAND_BYTES)]


def hash64(data: bytes) -> int:
    """A signed 64-bit key, as a Postgres bigint holds it."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)
