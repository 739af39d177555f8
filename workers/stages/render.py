"""Recipe + seed -> chat messages and sampling parameters. Pure."""

from __future__ import annotations

from typing import Any

from app.datasets.recipe import Elicitation, Recipe, fill_template
from app.queue.states import LeasedSeed
from workers.teacher.types import ChatRequest

# Samples of one seed differ by their sampling seed; so do the tries of one sample.
MAX_SAMPLES = 64


class RenderError(Exception):
    """The seed cannot be rendered with this recipe."""

    error_class = "render"


def render(recipe: Recipe, seed: LeasedSeed, sample_index: int) -> ChatRequest:
    """The request for one sample.

    Messages come first-to-last from the most shared to the least (system, then the filled template),
    so that vLLM's prefix cache is hit.

    Raises:
        RenderError: the template names metadata that the seed does not have.
    """
    try:
        user = fill_template(recipe.template, seed.instruction, seed.input, seed.metadata)
    except KeyError as exc:
        msg = f"the template names {{metadata.{exc.args[0]}}}, and this seed's metadata has no such key"
        raise RenderError(msg) from exc
    system = _system(recipe)
    messages = ({"role": "system", "content": system},) if system else ()
    return ChatRequest(
        messages=(*messages, {"role": "user", "content": user}), parameters=_parameters(recipe, seed.tries, sample_index)
    )


def _system(recipe: Recipe) -> str:
    parts = [recipe.system] if recipe.system else []
    if recipe.reasoning == "elicited" and recipe.elicitation is not None:
        parts.append(recipe.elicitation.instruction)
    return "\n\n".join(parts)


def _parameters(recipe: Recipe, tries: int, sample_index: int) -> dict[str, Any]:
    parameters = {name: value for name, value in recipe.sampling.model_dump().items() if value is not None}
    if "seed" in parameters:
        offset = sample_index + MAX_SAMPLES * (tries - 1)
        parameters["seed"] = (parameters["seed"] + offset) % 2**63
    if recipe.reasoning == "elicited" and recipe.elicitation is not None and recipe.elicitation.structured:
        parameters["structured_outputs"] = {"regex": tag_pattern(recipe.elicitation)}
    return parameters


def tag_pattern(elicitation: Elicitation) -> str:
    """What vLLM's structured outputs hold an elicited answer to: <think>…</think>, a blank line, the answer."""
    if elicitation.paragraphs:
        return r"<think>\n([^<]|<[^/])+\n</think>\n\n[\s\S]+"
    return r"<think>\n[^<\n]+\n</think>\n\n[^<\n]+(\n[^<\n]+){0,2}"
