"""The registry: what a recipe may name, what applies by default, and how often each check is wrong about real text.

A false positive costs the user a good sample and is seen by nobody, so the figures are held here.
"""

from __future__ import annotations

import importlib
import inspect
import json
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from app.curation import check as check_module
from app.curation.candidate import Candidate, Reject
from app.curation.check import Check
from app.curation.registry import CurationStep, default_curation, judge
from app.datasets.recipe import Recipe
from app.teachers.config import ReasoningMode

CHECKS: tuple[type[Check], ...] = get_args(get_args(CurationStep)[0])
NAMES = [get_args(kind.model_fields["check"].annotation)[0] for kind in CHECKS]
STEP: TypeAdapter[CurationStep] = TypeAdapter(CurationStep)
ROOT = Path(__file__).parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
DOCUMENTED = (
    "argparse asyncio collections csv datetime decimal difflib email fractions functools heapq html inspect json logging"
)
DOCUMENTED += " pathlib random re shutil socket sqlite3 statistics string subprocess tempfile textwrap threading uuid"

TOUR = """\
Lists have several methods. You can append an item, insert one at a position, or remove the first that equals a value:

>>> fruits = ['orange', 'apple', 'pear', 'banana']
>>> fruits.append('grape')
>>> fruits.count('apple')
1
>>> fruits.count('tangerine')
0
>>> fruits.index('banana')
3

The ``for`` statement differs from what you may know from C: it iterates over the items of any sequence, in the order
in which they stand. If you need a sequence of numbers, ``range()`` makes one::

    for i in range(5):
        print(i)

Note that the end point is never part of it; ``range(10)`` generates ten values, the legal indices of ten items.
"""


@pytest.mark.parametrize("kind", CHECKS, ids=NAMES)
def test_each_check_lives_in_a_file_of_its_name(kind: type[Check]) -> None:
    name = get_args(kind.model_fields["check"].annotation)[0]
    assert kind.__module__ == f"app.curation.{name}"


@pytest.mark.parametrize("kind", CHECKS, ids=NAMES)
def test_each_check_says_what_it_does_in_module_and_class(kind: type[Check]) -> None:
    name = get_args(kind.model_fields["check"].annotation)[0]
    assert (importlib.import_module(kind.__module__).__doc__ or "").startswith(f"{name}: ")
    assert kind.__doc__
    assert kind.__doc__ != Check.__doc__


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_every_check_of_the_folder_is_in_the_registry() -> None:
    folder = Path(check_module.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if "(Check)" in path.read_text(encoding="utf-8")}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_default(name: str) -> None:
    assert STEP.validate_python({"check": name}).check == name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match="min_charz"):
        STEP.validate_python({"check": name, "min_charz": 1})


def test_an_unknown_check_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValidationError) as caught:
        STEP.validate_python({"check": "lenght"})
    assert all(name in str(caught.value) for name in ["lenght", *NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_a_check_survives_the_way_through_json(name: str) -> None:
    step = STEP.validate_python({"check": name})
    assert STEP.validate_json(step.model_dump_json()) == step


@pytest.mark.parametrize("mode", ["native", "tags", "elicited"])
def test_the_default_list_asks_for_reasoning(mode: ReasoningMode) -> None:
    names = [step.check for step in default_curation(mode)]
    assert names == ["length", "truncation", "reasoning", "refusal", "repetition", "exact_duplicate", "near_duplicate"]


def test_the_default_list_asks_for_none_where_there_is_none() -> None:
    assert "reasoning" not in [step.check for step in default_curation("none")]


def test_the_first_reject_in_the_recipes_order_counts() -> None:
    steps = [STEP.validate_python({"check": "refusal"}), STEP.validate_python({"check": "length", "max_chars": 3})]
    both = Candidate("i", "", None, "I cannot help with that.")
    first, second = judge(steps, both), judge(steps[::-1], both)
    assert [reject and reject.reason for reject in (first, second)] == ["refusal", "length"]


def test_no_checks_keep_everything() -> None:
    recipe = Recipe.model_validate({"curation": []})
    assert recipe.curation == ()
    assert judge(recipe.curation, Candidate("i", "", None, "")) is None


@cache
def docstrings() -> tuple[str, ...]:
    """What the standard library says of itself: prose, lists, examples, code."""
    found: set[str] = set()
    for module in map(importlib.import_module, DOCUMENTED.split()):
        found.add(module.__doc__ or "")
        found.update(inspect.getdoc(member) or "" for _, member in inspect.getmembers(module) if callable(member))
    return tuple(sorted(found - {""}))


def rejected(name: str, texts: list[str] | tuple[str, ...]) -> list[Reject]:
    """With the text in both fields, since both are looked at."""
    step = STEP.validate_python({"check": name})
    judged = [step.judge(Candidate("i", "", text, text)) for text in texts]
    return [reject for reject in judged if reject is not None]


def shared_lines(name: str) -> list[dict[str, object]]:
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_the_licence_and_a_tutorial_are_kept(name: str) -> None:
    assert rejected(name, [(ROOT / "LICENSE").read_text(encoding="utf-8"), TOUR]) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_references_of_the_example_seeds_are_kept(name: str) -> None:
    lines = (ROOT / "examples" / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
    outputs = [json.loads(line)["output"] for line in lines if "output" in json.loads(line)]
    assert len(outputs) >= 10
    assert rejected(name, outputs) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_projects_own_source_is_kept(name: str) -> None:
    sources = [path.read_text(encoding="utf-8") for folder in ("app", "workers") for path in (ROOT / folder).rglob("*.py")]
    assert rejected(name, [source for source in sources if source.strip()]) == []


@pytest.mark.parametrize("name", NAMES)
def test_at_most_one_docstring_in_500_is_rejected(name: str) -> None:
    texts = docstrings()
    assert len(texts) > 500
    assert len(rejected(name, texts)) <= len(texts) / 500


@pytest.mark.parametrize("name", NAMES)
def test_hand_written_references_are_rejected_as_often_as_measured(name: str) -> None:
    """175 answers written by people for Self-Instruct; the one is code that ends in a semicolon."""
    texts = [
        instance["output"]
        for task in shared_lines("seed_tasks.jsonl")
        for instance in task["instances"]  # type: ignore[attr-defined]
    ]
    assert len(texts) == 175
    assert len(rejected(name, texts)) == {"truncation": 0}.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("file", "field"), [("benchmarks/gsm8k_test.jsonl", "answer"), ("benchmarks/humaneval.jsonl", "canonical_solution")]
)
def test_worked_solutions_are_kept(file: str, field: str, name: str) -> None:
    assert rejected(name, [str(line[field]) for line in shared_lines(file)]) == []
