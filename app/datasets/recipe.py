"""The recipe: how a seed becomes samples. Immutable once used, hashed canonically."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from app.curation.registry import CurationStep, default_curation
from app.teachers.config import ReasoningMode, Teacher

DEFAULT_TEMPLATE = "{instruction}\n\n{input}"
DEFAULT_ELICITATION = (
    "First think step by step between <think> and </think>. Then, after </think>, write the final answer and nothing else."
)


def refuse_unstorable(text: str) -> str:
    """Postgres holds neither NUL nor lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        msg = "contains a lone surrogate, which is no character: remove it"
        raise ValueError(msg) from exc
    if "\0" in text:
        msg = "contains a NUL character (U+0000): remove it"
        raise ValueError(msg)
    return text


Words = Annotated[str, AfterValidator(refuse_unstorable)]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampling(Frozen):
    """vLLM's sampling parameters, by vLLM's names; what is None is left to the server."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 2048
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    thinking_token_budget: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Elicitation(Frozen):
    """For `reasoning: elicited`: what is added to the system message, and how the answer is held to tags.

    `structured` has vLLM's structured outputs hold every answer to <think>…</think>; switch it off for
    servers that do not know `structured_outputs`. `paragraphs` False also holds the reasoning to one
    line and the answer to three, which keeps a very small model from rambling. Neither counts characters: a
    bounded repeat of hundreds makes xgrammar's masks so slow that vLLM stalls.
    """

    instruction: Annotated[Words, Field(min_length=1, max_length=10_000)] = DEFAULT_ELICITATION
    structured: bool = True
    paragraphs: bool = True


class Recipe(Frozen):
    """What a user may write; everything optional. `resolve` fills in what depends on the teacher."""

    teacher: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    samples_per_seed: Annotated[int, Field(ge=1, le=64)] = 1
    reasoning: ReasoningMode | None = None
    elicitation: Elicitation | None = None
    system: Annotated[Words, Field(max_length=100_000)] | None = None
    template: Annotated[Words, Field(min_length=1, max_length=100_000)] = DEFAULT_TEMPLATE
    sampling: Sampling = Sampling()
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    curation: Annotated[tuple[CurationStep, ...], Field(max_length=64)] | None = None

    @field_validator("template")
    @classmethod
    def check_template(cls, template: str) -> str:
        parse_template(template)
        return template

    def resolve(self, teacher: Teacher) -> Recipe:
        """The recipe with nothing left open, as it is stored, shown and hashed."""
        reasoning = self.reasoning or teacher.reasoning
        elicitation = (self.elicitation or Elicitation()) if reasoning == "elicited" else self.elicitation
        curation = default_curation(reasoning) if self.curation is None else self.curation
        return self.model_copy(
            update={"teacher": teacher.name, "reasoning": reasoning, "elicitation": elicitation, "curation": curation}
        )

    def body(self) -> dict[str, Any]:
        """The JSON form."""
        return self.model_dump(mode="json")

    def hash(self) -> str:
        """`sha256:` over the JSON with sorted keys and no white space (UTF-8)."""
        return "sha256:" + hashlib.sha256(orjson.dumps(self.body(), option=orjson.OPT_SORT_KEYS)).hexdigest()


def parse_template(template: str) -> list[tuple[str, str | None]]:
    """(literal, field) pairs; a field is `instruction`, `input` or `metadata.KEY`.

    Raises:
        ValueError: unbalanced braces or an unknown field; says which are known.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as exc:
        msg = f"not a template: {exc}; write a literal brace twice, {{{{ or }}}}"
        raise ValueError(msg) from exc
    fields: list[tuple[str, str | None]] = []
    for literal, field, spec, conversion in parts:
        if field is not None:
            known = field in {"instruction", "input"} or (field.startswith("metadata.") and len(field) > len("metadata."))
            if not known or spec or conversion:
                msg = (
                    f"unknown field {{{field}}}: a template fills {{instruction}}, {{input}} and {{metadata.KEY}}; "
                    "write a literal brace twice, {{ or }}"
                )
                raise ValueError(msg)
        fields.append((literal, field))
    if all(field != "instruction" for _, field in fields):
        msg = "the template has no {instruction}, so every seed would ask the same"
        raise ValueError(msg)
    return fields


def fill_template(template: str, instruction: str, input_: str, metadata: Mapping[str, Any]) -> str:
    """The user message. White space left at the end by an empty input is dropped.

    Raises:
        KeyError: the seed's metadata lacks a key that the template names.
    """
    filled = []
    for literal, field in parse_template(template):
        filled.append(literal)
        if field == "instruction":
            filled.append(instruction)
        elif field == "input":
            filled.append(input_)
        elif field is not None:
            value = metadata[field.removeprefix("metadata.")]
            filled.append(value if isinstance(value, str) else orjson.dumps(value).decode())
    return "".join(filled).rstrip()
