"""render: recipe and seed become chat messages and vLLM's parameters."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.datasets.recipe import DEFAULT_ELICITATION, Elicitation, Recipe
from app.queue.states import LeasedSeed, LeaseKey
from app.teachers.config import Teacher
from workers.stages.render import RenderError, render, tag_pattern
from workers.teacher.types import ChatRequest

TEACHER = Teacher(urls=("http://teacher",), model="m")


def recipe(**members: Any) -> Recipe:
    return Recipe.model_validate(members).resolve(TEACHER)


def seed(instruction: str = "Add.", input_: str = "1 and 2", tries: int = 1, **metadata: object) -> LeasedSeed:
    key = LeaseKey(1, 1, 1, UUID(int=1))
    return LeasedSeed(key, 1, instruction, input_, None, metadata, tries, setbacks=0, open_samples=None)


def user(request: ChatRequest) -> str:
    return request.messages[-1]["content"]


def sampling_seed(tries: int, sample_index: int, start: int = 100) -> int:
    made = render(recipe(sampling={"seed": start}), seed(tries=tries), sample_index).parameters["seed"]
    assert isinstance(made, int)
    return made


def test_the_default_template_puts_the_input_after_a_blank_line() -> None:
    assert render(recipe(), seed(), 0).messages == ({"role": "user", "content": "Add.\n\n1 and 2"},)


def test_an_empty_input_leaves_no_blank_lines() -> None:
    assert user(render(recipe(), seed(input_=""), 0)) == "Add."


def test_literal_braces_are_doubled_in_the_template() -> None:
    assert user(render(recipe(template='{instruction} {{"a": {{}}}}'), seed(), 0)) == 'Add. {"a": {}}'


def test_braces_in_a_seed_are_left_alone() -> None:
    """A seed is data: what looks like a field in it is not filled."""
    made = render(recipe(template="{instruction}|{input}"), seed("{input} {{x}}", "{metadata.k} {0}", k="no"), 0)
    assert user(made) == "{input} {{x}}|{metadata.k} {0}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("text", "text"), (5, "5"), (True, "true"), (None, "null"), (["a", 1], '["a",1]'), ({"é": 1}, '{"é":1}')],
)
def test_metadata_is_filled_as_text_or_json(value: object, shown: str) -> None:
    assert user(render(recipe(template="{instruction} {metadata.k}"), seed(k=value), 0)) == f"Add. {shown}"


def test_a_metadata_key_may_hold_dots() -> None:
    assert user(render(recipe(template="{instruction} {metadata.a.b}"), seed("Add.", "", 1, **{"a.b": "x"}), 0)) == "Add. x"


def test_missing_metadata_is_named() -> None:
    with pytest.raises(RenderError, match=re.escape("{metadata.topic}")):
        render(recipe(template="{instruction} {metadata.topic}"), seed(kind="x"), 0)


def test_the_system_prompt_comes_first() -> None:
    roles = [message["role"] for message in render(recipe(system="Be brief."), seed(), 0).messages]
    assert roles == ["system", "user"]


def test_the_elicitation_follows_the_system_prompt() -> None:
    made = render(recipe(system="Be brief.", reasoning="elicited"), seed(), 0)
    assert made.messages[0]["content"] == f"Be brief.\n\n{DEFAULT_ELICITATION}"


def test_the_elicitation_stands_alone_without_a_system_prompt() -> None:
    made = render(recipe(reasoning="elicited", elicitation={"instruction": "Think."}), seed(), 0)
    assert made.messages[0] == {"role": "system", "content": "Think."}


@pytest.mark.parametrize("mode", ["native", "tags", "none"])
def test_nothing_is_elicited_in_other_modes(mode: str) -> None:
    made = render(recipe(reasoning=mode, elicitation={"instruction": "Think."}), seed(), 0)
    assert len(made.messages) == 1
    assert "structured_outputs" not in made.parameters


def test_parameters_left_open_are_left_to_the_server() -> None:
    assert render(recipe(), seed(), 0).parameters == {"temperature": 0.7, "top_p": 1.0, "max_tokens": 2048}


def test_given_parameters_keep_vllms_names() -> None:
    given_ = {"top_k": 20, "min_p": 0.1, "thinking_token_budget": 64, "presence_penalty": 0.5, "repetition_penalty": 1.1}
    assert render(recipe(sampling=given_), seed(), 0).parameters.items() >= given_.items()


def test_samples_and_tries_of_one_seed_all_differ_in_their_sampling_seed() -> None:
    made = {sampling_seed(tries, index) for tries in range(1, 101) for index in range(64)}
    assert len(made) == 6400


def test_the_first_sample_of_the_first_try_has_the_recipes_seed() -> None:
    assert sampling_seed(1, 0) == 100


def test_a_sampling_seed_near_the_end_of_its_range_wraps_around() -> None:
    assert sampling_seed(1, 3, start=2**63 - 1) == 2


@pytest.mark.parametrize("paragraphs", [True, False])
def test_structured_outputs_hold_an_elicited_answer_to_tags(paragraphs: bool) -> None:
    made = render(recipe(reasoning="elicited", elicitation={"paragraphs": paragraphs}), seed(), 0)
    assert made.parameters["structured_outputs"] == {"regex": tag_pattern(Elicitation(paragraphs=paragraphs))}


def test_structured_outputs_can_be_left_out() -> None:
    assert (
        "structured_outputs"
        not in render(recipe(reasoning="elicited", elicitation={"structured": False}), seed(), 0).parameters
    )


@pytest.mark.parametrize(
    ("answer", "paragraphs", "lines"),
    [
        ("<think>\nwhy\n</think>\n\nso", True, True),
        ("<think>\nwhy\n\nand why\n</think>\n\nso\nand so", True, False),
        ("<think>\n1 < 2\n</think>\n\nso", True, False),
        ("<think>\nwhy\n</think>\n\n1 < 2", True, False),
        ("<think>\n\n</think>\n\nso", False, False),
        ("<think>\nwhy\n</think>\n\n", False, False),
        ("<think>\nwhy", False, False),
        ("why\n</think>\n\nso", False, False),
        ("so", False, False),
    ],
)
def test_the_patterns_take_reasoned_answers_only(answer: str, paragraphs: bool, lines: bool) -> None:
    fits = [re.fullmatch(tag_pattern(Elicitation(paragraphs=wide)), answer) is not None for wide in (True, False)]
    assert fits == [paragraphs, lines]


@given(st.text(), st.text())
@settings(deadline=None)
def test_any_seed_is_rendered_as_it_is(instruction: str, input_: str) -> None:
    assert user(render(recipe(), seed(instruction, input_), 0)) == f"{instruction}\n\n{input_}".rstrip()
