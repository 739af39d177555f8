"""How the simulated server is to behave: all of it, in one frozen value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any


class ReasoningStyle(StrEnum):
    """Where the reasoning trace is found in an answer."""

    NATIVE = "native"  # message.reasoning
    REASONING_CONTENT = "reasoning_content"  # message.reasoning_content, the older field
    TAGS = "tags"  # <think>…</think> at the head of the content
    TAGS_NO_OPEN = "tags_no_open"  # the chat template had opened the tag
    TAGS_UNCLOSED = "tags_unclosed"  # <think> that never ends
    NONE = "none"


class FaultKind(StrEnum):
    """The ways to go wrong; `faults.py` and `errors.py` say what each one does."""

    HTTP_400 = "http_400"
    HTTP_401 = "http_401"
    HTTP_404_MODEL = "http_404_model"
    HTTP_422 = "http_422"
    HTTP_429 = "http_429"
    HTTP_500 = "http_500"
    HTTP_502_HTML = "http_502_html"
    HTTP_503 = "http_503"
    HTML_200 = "html_200"
    HANG = "hang"
    RESET_BEFORE = "reset_before"
    RESET_MID_BODY = "reset_mid_body"
    TRUNCATED_JSON = "truncated_json"
    SLOW_DRIP = "slow_drip"
    CLOSE_KEEPALIVE = "close_keepalive"
    BIG_BODY = "big_body"
    EMPTY_CHOICES = "empty_choices"
    NULL_CONTENT = "null_content"
    ABORT = "abort"
    WRONG_MODEL = "wrong_model"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    INVALID_UTF8 = "invalid_utf8"
    NUL_IN_TEXT = "nul_in_text"
    LONE_SURROGATE = "lone_surrogate"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. The draw is per request, not per prompt, so that a retry may well succeed."""

    kind: FaultKind
    share: float = 1.0
    match: str | None = None  # only requests whose prompt contains this
    first_n: int | None = None  # only the first n of the requests that match

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Fault:
        """From JSON, or from the command line, where every value is a string."""
        refuse_unknown(cls, data)
        first_n = data.get("first_n")
        return cls(
            kind=FaultKind(data["kind"]),
            share=float(data.get("share", 1.0)),
            match=data.get("match"),
            first_n=None if first_n is None else int(first_n),
        )


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Everything that can be set, from the command line or while it runs."""

    model: str = "simulated"
    max_model_len: int = 32768
    api_key: str | None = None
    latency_s: float = 0.0  # mean
    jitter_s: float = 0.0  # latency is uniform in latency_s ± jitter_s
    capacity: int = 0  # requests run at once, the others wait; 0: no limit
    tokens_per_s_total: float = 0.0  # shared by what runs, which makes the knee; 0: no limit
    kv_tokens: int = 0  # the KV cache's size, beyond which the newest request is preempted; 0: no limit
    reasoning: ReasoningStyle = ReasoningStyle.NATIVE
    words: int = 48
    reasoning_words: int = 32
    duplicates_share: float = 0.0  # answers that equal one fixed text
    refusal_share: float = 0.0
    empty_share: float = 0.0
    length_share: float = 0.0  # cut half-way, finish_reason "length"
    error_shape: str = "nested"  # or "flat", as older releases wrote it
    big_body_bytes: int = 50_000_000
    drip_interval_s: float = 0.1
    track_prompts: bool = False  # count requests by prompt: grows with the number of prompts
    seed: int = 0  # of latencies and fault draws
    faults: tuple[Fault, ...] = ()

    def changed(self, data: dict[str, Any]) -> Behaviour:
        """A copy with the given fields. Raises ValueError, KeyError or TypeError for a bad one."""
        refuse_unknown(type(self), data)
        change = {name: coerce(value, getattr(self, name)) for name, value in data.items()}
        if "faults" in data:
            change["faults"] = tuple(Fault.parse(fault) for fault in data["faults"])
        behaviour = replace(self, **change)
        if behaviour.error_shape not in {"nested", "flat"}:
            msg = f"error_shape is nested or flat, not {behaviour.error_shape!r}"
            raise ValueError(msg)
        return behaviour

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def coerce(value: Any, current: Any) -> Any:
    """To the type of the field's value now, so that a bad one is refused where it is set."""
    if current is None or isinstance(current, tuple):
        return value
    if isinstance(current, bool) and not isinstance(value, bool):
        msg = f"{value!r} is not true or false"
        raise TypeError(msg)
    return type(current)(value)


def refuse_unknown(cls: type[Any], data: dict[str, Any]) -> None:
    unknown = sorted(data.keys() - {field.name for field in fields(cls)})
    if unknown:
        msg = f"{cls.__name__} has no {', '.join(unknown)}"
        raise ValueError(msg)
