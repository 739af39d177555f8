"""One line (or item) into seeds, or into errors that name the line, the field and the mend.

Accepted shapes: Limbeck's own and Alpaca's (`instruction`, `input`, `output` or `reference`), and
self-instruct's (`instruction`, `instances: [{input, output}]`), which unfolds into one seed an instance.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from app.errors import FieldError
from app.seeds.marks import MAX_MARKS, has_long_run

BOM = b"\xef\xbb\xbf"
MAX_LINE_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_INSTANCES = 1000
CONTAINERS = (dict, list)
# Members of well-known shapes that say nothing a seed needs; kept as metadata.
KNOWN = frozenset({"instruction", "input", "output", "reference", "metadata", "instances"})


# Both are made once a line; a frozen dataclass takes several times as long to make as a tuple.
class RawItem(NamedTuple):
    """One line as bytes, or one item already parsed; or why there is none."""

    line: int
    data: bytes
    value: Any = None
    parsed: bool = False
    too_long: bool = False
    too_deep: bool = False
    broken: str | None = None


class ParsedSeed(NamedTuple):
    """A seed ready to store. `content_hash`: 16 bytes of SHA-256 over instruction and input."""

    line: int
    content_hash: bytes
    instruction: str
    input: str
    reference: str | None
    metadata: str | None

    def chars(self) -> int:
        """What it holds in memory, roughly."""
        return len(self.instruction) + len(self.input) + len(self.reference or "") + len(self.metadata or "")


class _Wrong(Exception):
    def __init__(self, error: str, field: str | None = None) -> None:
        self.error = error
        self.field = field


def parse_item(item: RawItem) -> Iterator[ParsedSeed | FieldError]:
    """The seeds of one line, in order and one at a time; an error stands for each seed that cannot be taken."""
    try:
        value = _load(item)
        if not isinstance(value, dict):
            msg = f'must be an object like {{"instruction": "…"}}, not {_kind(value)}'
            raise _Wrong(msg)
        if value.get("instances") is None:
            yield _one(item.line, value, "")
            return
        for unfolded, prefix in _unfold(value):
            if isinstance(unfolded, dict):
                yield _one(item.line, unfolded, prefix)
            else:
                yield FieldError(error=f"must be an object, not {_kind(unfolded)}", field=prefix.rstrip("."), line=item.line)
    except _Wrong as wrong:
        yield FieldError(error=wrong.error, field=wrong.field, line=item.line)


def _load(item: RawItem) -> Any:  # noqa: ANN401 -- any JSON
    if item.broken is not None:
        raise _Wrong(item.broken)
    if item.too_long:
        msg = f"the line is longer than {MAX_LINE_BYTES} bytes: shorten it or split it"
        raise _Wrong(msg)
    if item.too_deep:
        raise _too_deep()
    if item.parsed:
        return item.value
    try:
        value = orjson.loads(item.data)
    except orjson.JSONDecodeError as exc:
        raise _Wrong(_explain(item.data, exc)) from None
    return value


def _explain(data: bytes, exc: orjson.JSONDecodeError) -> str:
    """Orjson's words, or better ones for what people really send."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as bad:
        return f"not valid UTF-8 at byte {bad.start + 1} of the line: save the file as UTF-8"
    words = str(exc)
    if "recursion" in words.lower() or "depth limit" in words:
        return _too_deep().error
    if "surrogate" in words.lower() or "unexpected end of hex escape" in words:
        return "a lone surrogate (\\ud800 to \\udfff without its other half) is no character: remove it"
    for constant in ("NaN", "Infinity", "-Infinity"):
        if exc.doc.startswith(constant, exc.pos) or exc.doc.startswith(constant, exc.pos - 1):
            return f"not JSON: {constant} is no JSON number; write null or leave the field out"
    return f"not JSON: {words}"


def _too_deep() -> _Wrong:
    return _Wrong(f"nested deeper than {MAX_DEPTH} levels: flatten it")


def _unfold(value: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    instances = value["instances"]
    if not isinstance(instances, list) or not instances:
        msg = f'must be a list of {{"input", "output"}} objects, not {_kind(instances) if instances != [] else "an empty list"}'
        raise _Wrong(msg, "instances")
    if len(instances) > MAX_INSTANCES:
        msg = f"has {len(instances)} entries; at most {MAX_INSTANCES} are taken from one line"
        raise _Wrong(msg, "instances")
    shared = {key: entry for key, entry in value.items() if key != "instances"}
    for index, instance in enumerate(instances):
        yield {**shared, **instance} if isinstance(instance, dict) else instance, f"instances[{index}]."


def _one(line: int, value: dict[str, Any], prefix: str) -> ParsedSeed | FieldError:
    try:
        instruction = _text(value, "instruction")
        if not instruction.strip():
            msg = (
                "missing: every seed needs an instruction"
                if "instruction" not in value
                else "empty: every seed needs an instruction"
            )
            raise _Wrong(msg, "instruction")
        input_ = _text(value, "input", prefix)
        return ParsedSeed(
            line=line,
            content_hash=content_hash(instruction, input_),
            instruction=instruction,
            input=input_,
            reference=_reference(value, prefix),
            metadata=_metadata(value),
        )
    except _Wrong as wrong:
        return FieldError(error=wrong.error, field=wrong.field, line=line)


def _text(value: dict[str, Any], field: str, prefix: str = "") -> str:
    text = value.get(field)
    if text is None:
        return ""
    if not isinstance(text, str):
        msg = f"must be a string, not {_kind(text)}"
        raise _Wrong(msg, prefix + field)
    return _clean(text, prefix + field)


def _clean(text: str, field: str) -> str:
    if "\0" in text:
        msg = "contains a NUL character (U+0000): remove it"
        raise _Wrong(msg, field)
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        msg = "contains a lone surrogate (\\ud800 to \\udfff without its other half), which is no character: remove it"
        raise _Wrong(msg, field) from None
    if has_long_run(text):
        msg = f"has more than {MAX_MARKS} combining marks in a row: no text needs them, remove them"
        raise _Wrong(msg, field)
    return unicodedata.normalize("NFC", text)


def _reference(value: dict[str, Any], prefix: str) -> str | None:
    reference, output = _text(value, "reference", prefix), _text(value, "output", prefix)
    if reference and output and reference != output:
        msg = "`reference` and `output` both stand here and differ: keep one, they mean the same"
        raise _Wrong(msg, prefix + "reference")
    return reference or output or None


def _metadata(value: dict[str, Any]) -> str | None:
    """The given metadata, and members that are not a seed's own, as JSON; None where there are none."""
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        msg = f"must be an object, not {_kind(metadata)}"
        raise _Wrong(msg, "metadata")
    merged = {key: entry for key, entry in value.items() if key not in KNOWN}
    if metadata:
        merged.update(metadata)
    if not merged:
        return None
    _check_depth(merged)
    try:
        encoded = orjson.dumps(merged).decode()
    except (TypeError, ValueError, orjson.JSONEncodeError) as exc:
        msg = f"cannot be kept as JSON: {exc}"
        raise _Wrong(msg, "metadata") from exc
    if "\\u0000" in encoded and "\0" in all_strings(merged):
        msg = "contains a NUL character (U+0000): remove it"
        raise _Wrong(msg, "metadata")
    return encoded


def _check_depth(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH - 1):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, CONTAINERS)
        ]
        if not level:
            return
    if any(level):
        raise _too_deep()


def all_strings(value: Any) -> str:  # noqa: ANN401 -- any JSON
    """All strings of a JSON value, keys included, in one; for looking for a character in any of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(f"{key}{all_strings(entry)}" for key, entry in value.items())
    if isinstance(value, list):
        return "".join(all_strings(entry) for entry in value)
    return ""


def content_hash(instruction: str, input_: str) -> bytes:
    """What makes two seeds the same: instruction and input, outer white space aside."""
    return hashlib.sha256(f"{instruction.strip()}\0{input_.strip()}".encode()).digest()[:16]


def _kind(value: Any) -> str:  # noqa: ANN401 -- any JSON
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else "a number"
