"""The recipe: its canonical hash, what it refuses and how it says so, and what it leaves to the teacher."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.datasets.recipe import Elicitation, Recipe, fill_template, parse_template
from app.teachers.config import ReasoningMode, Teacher

FULL: dict[str, Any] = {
    "teacher": "default",
    "samples_per_seed": 2,
    "reasoning": "elicited",
    "system": "Be brief.",
    "template": "{instruction}\n{metadata.topic}",
    "sampling": {"temperature": 1, "top_p": 0.9, "seed": 5},
    "curation": [{"check": "length", "min_chars": 1}, {"check": "near_duplicate", "threshold": 1}],
}


def recipe(**members: Any) -> Recipe:
    return Recipe.model_validate(members)


def teacher(reasoning: ReasoningMode = "native", name: str = "default") -> Teacher:
    return Teacher(name=name, urls=("http://teacher",), model="m", reasoning=reasoning)


def refusal(**members: Any) -> tuple[str, str]:
    """Where the only error stands, and its words."""
    with pytest.raises(ValidationError) as caught:
        recipe(**members)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


def test_the_hash_names_its_function() -> None:
    prefix, _, digest = recipe().hash().partition(":")
    assert (prefix, len(digest)) == ("sha256", 64)


def test_the_hash_is_that_of_the_shown_json_with_sorted_keys() -> None:
    """So that a reader can check it with any JSON library."""
    resolved = recipe(**FULL, max_attempts=5).resolve(teacher())
    text = json.dumps(resolved.body(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert resolved.hash() == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@given(st.permutations(list(FULL)))
def test_the_hash_does_not_depend_on_key_order(order: list[str]) -> None:
    assert recipe(**{key: FULL[key] for key in order}).hash() == recipe(**FULL).hash()


def test_the_hash_does_not_depend_on_the_order_of_a_checks_options() -> None:
    one, other = [{"check": "length", "min_chars": 3, "max_chars": 9}], [{"max_chars": 9, "min_chars": 3, "check": "length"}]
    assert recipe(curation=one).hash() == recipe(curation=other).hash()


@pytest.mark.parametrize("mode", ["native", "tags", "elicited", "none"])
def test_the_hash_survives_storing_and_validating_again(mode: ReasoningMode) -> None:
    """As Postgres gives it back: jsonb keeps neither key order nor a float's trailing zero."""
    resolved = recipe().resolve(teacher(mode))
    stored = json.loads(json.dumps(resolved.body(), sort_keys=True).replace(".0,", ","))
    assert Recipe.model_validate(stored).hash() == resolved.hash()


def test_an_integer_and_its_float_hash_alike() -> None:
    assert recipe(sampling={"temperature": 1}).hash() == recipe(sampling={"temperature": 1.0}).hash()


def test_spelling_out_a_default_changes_nothing() -> None:
    assert recipe(max_attempts=3, sampling={"temperature": 0.7}).hash() == recipe().hash()


@pytest.mark.parametrize(
    "change",
    [{"system": ""}, {"samples_per_seed": 2}, {"sampling": {"top_k": 1}}, {"curation": []}, {"template": "{instruction}"}],
)
def test_every_change_changes_the_hash(change: dict[str, Any]) -> None:
    assert recipe(**change).hash() != recipe().hash()


def test_the_order_of_checks_is_part_of_the_recipe() -> None:
    steps = [{"check": "length"}, {"check": "refusal"}]
    assert recipe(curation=steps).hash() != recipe(curation=steps[::-1]).hash()


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"tempratur": 1}, "tempratur"),
        ({"sampling": {"temp": 1}}, "sampling.temp"),
        ({"elicitation": {"prompt": "x"}}, "elicitation.prompt"),
        ({"curation": [{"check": "length"}, {"check": "length", "min": 1}]}, "curation.1.length.min"),
    ],
)
def test_unknown_fields_are_refused_by_name(members: dict[str, Any], where: str) -> None:
    assert refusal(**members) == (where, "Extra inputs are not permitted")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty"])
def test_numbers_that_json_cannot_hold_are_refused(field: str, value: float) -> None:
    assert refusal(sampling={field: value})[0] == f"sampling.{field}"


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("option", ["threshold", "same_seed_threshold"])
def test_options_that_json_cannot_hold_are_refused(option: str, value: float) -> None:
    assert refusal(curation=[{"check": "near_duplicate", option: value}])[0] == f"curation.0.near_duplicate.{option}"


@pytest.mark.parametrize("template", ["{instruction} {", "{instruction} }", "{instruction} {input", "{instruction} {a{b}}"])
def test_unbalanced_braces_are_told_to_double(template: str) -> None:
    where, words = refusal(template=template)
    assert where == "template"
    assert "write a literal brace twice, {{ or }}" in words


@pytest.mark.parametrize(
    "field", ["", "0", "output", " instruction ", "instruction.x", "instruction[0]", "metadata", "metadata."]
)
def test_an_unknown_template_field_is_named_with_those_there_are(field: str) -> None:
    _, words = refusal(template=f"{{instruction}} {{{field}}}")
    assert f"unknown field {{{field}}}" in words
    assert "{instruction}, {input} and {metadata.KEY}" in words


@pytest.mark.parametrize("template", ["{instruction!r}", "{instruction:>10}", "{instruction} {input!s}"])
def test_conversions_and_formats_are_refused(template: str) -> None:
    assert "unknown field" in refusal(template=template)[1]


@pytest.mark.parametrize("template", ["Hello", "{input}", "{{instruction}}"])
def test_a_template_without_the_instruction_is_refused(template: str) -> None:
    assert "has no {instruction}" in refusal(template=template)[1]


@pytest.mark.parametrize("members", [{"template": "{instruction}\0"}, {"system": "a\0b"}])
def test_nul_is_refused(members: dict[str, Any]) -> None:
    assert "remove it" in refusal(**members)[1]


def test_nul_is_refused_in_the_elicitation() -> None:
    assert refusal(elicitation={"instruction": "a\0b"})[0] == "elicitation.instruction"


@pytest.mark.parametrize("members", [{"system": "\ud800"}, {"elicitation": {"instruction": "\ud800"}}, {"teacher": "\ud800"}])
def test_lone_surrogates_are_refused(members: dict[str, Any]) -> None:
    assert "surrogate" in refusal(**members)[1] or "unicode" in refusal(**members)[1]


@pytest.mark.parametrize(
    "members",
    [
        {"samples_per_seed": 0},
        {"samples_per_seed": 65},
        {"max_attempts": 0},
        {"sampling": {"max_tokens": 0}},
        {"sampling": {"seed": 2**63}},
        {"sampling": {"top_p": 0}},
        {"template": ""},
        {"curation": [{"check": "length"}] * 65},
    ],
)
def test_values_out_of_range_are_refused(members: dict[str, Any]) -> None:
    (field,) = members
    assert refusal(**members)[0].startswith(field)


def test_the_default_curation_asks_for_reasoning_where_the_teacher_reasons() -> None:
    curation = recipe().resolve(teacher("tags")).curation
    assert curation is not None
    assert "reasoning" in [step.check for step in curation]


def test_the_default_curation_follows_the_recipes_mode_before_the_teachers() -> None:
    curation = recipe(reasoning="none").resolve(teacher("tags")).curation
    assert curation is not None
    assert "reasoning" not in [step.check for step in curation]


def test_an_empty_list_means_no_curation() -> None:
    assert recipe(curation=[]).resolve(teacher()).curation == ()


def test_resolving_names_the_teacher_and_its_mode() -> None:
    resolved = recipe().resolve(teacher("tags", name="qwen"))
    assert (resolved.teacher, resolved.reasoning) == ("qwen", "tags")


def test_resolving_twice_changes_nothing() -> None:
    once = recipe().resolve(teacher("elicited"))
    assert once.resolve(teacher("elicited")) == once


def test_an_elicited_recipe_gets_an_elicitation() -> None:
    assert recipe().resolve(teacher("elicited")).elicitation == Elicitation()


def test_other_modes_get_no_elicitation() -> None:
    assert recipe().resolve(teacher("native")).elicitation is None


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe().max_attempts = 5  # type: ignore[misc]


@given(st.text(), st.text(), st.text())
def test_a_template_with_doubled_braces_gives_its_literal_text(before: str, after: str, instruction: str) -> None:
    template = before.replace("{", "{{").replace("}", "}}") + "{instruction}" + after.replace("{", "{{").replace("}", "}}")
    assert fill_template(template, instruction, "", {}) == f"{before}{instruction}{after}".rstrip()


@given(st.text(alphabet="{}!:[].ainstructiometadata "))
def test_any_template_is_parsed_or_refused(template: str) -> None:
    try:
        fields = {field for _, field in parse_template(template)}
    except ValueError as error:
        assert "{" in str(error)  # noqa: PT017 -- either outcome is right
    else:
        assert "instruction" in fields
