"""Duplicates: what makes two texts the same, which candidates the bands find, and that every decision is exact."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.curation.candidate import Candidate
from app.curation.duplicates import BANDS, Fingerprint, band_keys, fingerprints, hash64, jaccard, normalise, shingle
from app.curation.exact_duplicate import ExactDuplicate
from app.curation.near_duplicate import NearDuplicate
from app.curation.registry import CurationStep, default_curation

EXACT = ExactDuplicate(check="exact_duplicate")
NEAR = NearDuplicate(check="near_duplicate")
TEXT = "The limbeck is an old still in which spirits of wine were parted from their water by slow heat."
VOCABULARY = [f"word{n}" for n in range(2000)]


def fingerprint(step: CurationStep, response: str, *, seed_id: int = 1, reasoning: str | None = None) -> Fingerprint:
    (only,) = fingerprints([step], Candidate("i", "", reasoning, response), seed_id)
    return only


def none_of(step: CurationStep, response: str) -> bool:
    return fingerprints([step], Candidate("i", "", None, response), 1) == ()


def meet(one: Fingerprint, other: Fingerprint) -> bool:
    return bool(set(one.keys) & set(other.keys))


def passage(rng: random.Random, words: int = 120) -> list[str]:
    return rng.choices(VOCABULARY, k=words)


def variant(rng: random.Random, words: Sequence[str], changes: int) -> list[str]:
    changed = list(words)
    for position in rng.sample(range(len(changed)), changes):
        changed[position] = f"other{rng.randrange(1000)}"
    return changed


def planted(count: int) -> list[tuple[str, str]]:
    """Pairs of a text and a variant, each at a true similarity from 0.8 to 0.9: the hard ones."""
    rng = random.Random(7)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        words = passage(rng)
        one, other = " ".join(words), " ".join(variant(rng, words, rng.randint(1, 4)))
        if 0.8 <= jaccard(shingle(one, 5), shingle(other, 5)) < 0.9:
            pairs.append((one, other))
    return pairs


def test_the_bands_find_97_of_100_planted_variants() -> None:
    """16 bands of 8; measured on this corpus: 0.988."""
    pairs = planted(1000)
    found = sum(meet(fingerprint(NEAR, one), fingerprint(NEAR, other)) for one, other in pairs)
    assert found / len(pairs) >= 0.97


def test_unrelated_texts_never_meet() -> None:
    rng = random.Random(3)
    keys = [key for _ in range(500) for key in fingerprint(NEAR, " ".join(passage(rng))).keys]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("threshold", [0.75, 0.8, 0.95, 1.0])
def test_each_near_decision_is_that_of_brute_force(threshold: float) -> None:
    """Never MinHash's estimate: the decision is the exact Jaccard similarity, whichever texts are brought together."""
    rng = random.Random(11)
    step = NearDuplicate(check="near_duplicate", threshold=threshold)
    for changes in range(20):
        words = passage(rng)
        one, other = " ".join(words), " ".join(variant(rng, words, changes))
        runs = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (one.split(), other.split())]
        expected = len(runs[0] & runs[1]) / len(runs[0] | runs[1]) >= threshold
        assert (fingerprint(step, one).same_as(other, same_seed=False) is not None) is expected


def test_a_near_reject_names_the_similarity_and_the_limit() -> None:
    reject = fingerprint(NEAR, TEXT).same_as(TEXT.upper(), same_seed=False)
    assert reject is not None
    assert (reject.reason, reject.detail) == (
        "near_duplicate",
        "1.00 similar (Jaccard, 5-word shingles) to an accepted response; limit 0.8",
    )


def test_samples_of_one_seed_are_compared_with_their_own_threshold() -> None:
    """Different answers to one prompt are variety: 0.9 similar is too like another seed's, and not its own."""
    words = [f"w{n}" for n in range(100)]
    one, other = " ".join(words), " ".join([*words[:-4], "x", "y", "z", "q"])
    assert 0.8 <= jaccard(shingle(one, 5), shingle(other, 5)) < 0.95
    print_of_one = fingerprint(NEAR, one)
    assert print_of_one.same_as(other, same_seed=True) is None
    assert print_of_one.same_as(other, same_seed=False) is not None


def test_near_texts_under_min_words_have_no_fingerprint() -> None:
    assert none_of(NEAR, "one two three four five six seven eight nine ten eleven")


def test_a_near_text_shorter_than_a_shingle_has_no_fingerprint() -> None:
    assert none_of(NearDuplicate(check="near_duplicate", min_words=0, shingle=5), "one two three four")


@pytest.mark.parametrize("step", [EXACT, NEAR])
def test_an_empty_text_has_no_fingerprint(step: CurationStep) -> None:
    assert none_of(step, " \n\t ")


def test_an_exact_repeat_is_found_across_case_and_white_space() -> None:
    one, other = fingerprint(EXACT, TEXT, seed_id=1), fingerprint(EXACT, f"\n{TEXT.upper()}  ".replace(" ", "\n"), seed_id=2)
    assert meet(one, other)
    assert one.same_as(other.text, same_seed=False) is not None


def test_an_exact_comparison_keeps_texts_that_differ_by_a_character() -> None:
    assert fingerprint(EXACT, TEXT).same_as(TEXT.replace("old", "odd"), same_seed=False) is None


def test_short_exact_repeats_across_seeds_are_kept() -> None:
    """Two sentiment seeds may both say "positive"."""
    one, other = fingerprint(EXACT, "Positive", seed_id=1), fingerprint(EXACT, "positive", seed_id=2)
    assert not meet(one, other)
    assert one.same_as("positive", same_seed=False) is None


def test_short_exact_repeats_within_a_seed_are_found() -> None:
    one, other = fingerprint(EXACT, "Positive", seed_id=1), fingerprint(EXACT, "positive", seed_id=1)
    assert meet(one, other)
    assert one.same_as("positive", same_seed=True) is not None


@pytest.mark.parametrize(("words", "crosses"), [(7, False), (8, True)])
def test_min_words_of_exact_is_inclusive(words: int, crosses: bool) -> None:
    text = " ".join(VOCABULARY[:words])
    assert meet(fingerprint(EXACT, text, seed_id=1), fingerprint(EXACT, text, seed_id=2)) is crosses


def test_exact_distinguishes_a_hash_collision() -> None:
    """A shared key is only a candidate: another text with it is kept."""
    assert fingerprint(EXACT, TEXT).same_as(f"{TEXT} More.", same_seed=True) is None


def test_reasoning_and_response_do_not_meet() -> None:
    steps: list[CurationStep] = [
        NearDuplicate(check="near_duplicate", on="reasoning"),
        ExactDuplicate(check="exact_duplicate", on="reasoning"),
    ]
    others: list[CurationStep] = [NEAR, EXACT]
    for step, other in zip(steps, others, strict=True):
        assert not meet(fingerprint(step, "x", reasoning=TEXT), fingerprint(other, TEXT))


def test_each_check_has_slots_of_its_own() -> None:
    steps: list[CurationStep] = [EXACT, ExactDuplicate(check="exact_duplicate", on="reasoning")]
    steps += [NearDuplicate(check="near_duplicate", shingle=n, on="response") for n in range(1, 21)]
    steps += [NearDuplicate(check="near_duplicate", shingle=n, on="reasoning") for n in range(1, 21)]
    text = " ".join(VOCABULARY[:40])
    slots = [slot for found in fingerprints(steps, Candidate("i", "", text, text), 1) for slot, _ in found.keys]
    assert len(slots) == len(set(slots)) == 2 + 40 * BANDS


def test_only_duplicate_checks_make_fingerprints() -> None:
    made = fingerprints(default_curation("native"), Candidate("i", "", "Hm.", TEXT), 1)
    assert [found.check.check for found in made] == ["exact_duplicate", "near_duplicate"]


def test_band_keys_are_the_same_in_every_process() -> None:
    """They are stored: a change would part the accepted texts of before and after."""
    assert band_keys(shingle("the quick brown fox jumps over", 5))[:2] == [7546989966272087783, -5356544253470907017]


@given(st.binary())
def test_keys_fit_a_bigint(data: bytes) -> None:
    assert -(2**63) <= hash64(data) < 2**63


@given(st.text())
@settings(deadline=None)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.text(alphabet="aÄßI.,"), max_size=8), st.sampled_from([" ", "\n", "\t \r\n", "\u3000"]))
def test_normal_form_is_blind_to_the_kind_of_white_space(words: list[str], space: str) -> None:
    assert normalise(space.join(words)) == normalise(" ".join(words))


@given(st.frozensets(st.integers(0, 9).map(str)), st.frozensets(st.integers(0, 9).map(str)))
def test_jaccard_is_symmetric_and_one_only_for_equal_sets(one: frozenset[str], other: frozenset[str]) -> None:
    assert jaccard(one, other) == jaccard(other, one)
    assert (jaccard(one, other) == 1.0) is (one == other)


@pytest.mark.parametrize("options", [{"threshold": 0.49}, {"threshold": float("nan")}, {"shingle": 0}, {"shingle": 21}])
def test_options_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        NearDuplicate.model_validate({"check": "near_duplicate", **options})
