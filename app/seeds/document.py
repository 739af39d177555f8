"""A JSON body {"seeds": […]} read as it streams in (ijson); item n counts as line n."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import ijson

# ijson's C back ends turn a lone surrogate into "?" and stop at an integer of more than 64 bits;
# the Python one does neither. Large files come as NDJSON, which orjson reads.
from ijson.backends import python as parsing
from ijson.common import ObjectBuilder

from app.errors import FieldError, InvalidInput
from app.seeds.parse import BOM, MAX_DEPTH, MAX_LINE_BYTES, RawItem

# An item longer than a line may be is passed over; one this long cannot be, since its strings are held.
MAX_HELD_BYTES = 16 * MAX_LINE_BYTES
OPENS = frozenset({"start_map", "start_array"})
CLOSES = frozenset({"end_map", "end_array"})


class _Reader:
    """Follows the parser's events and builds one item of `seeds` at a time; deeper than MAX_DEPTH is passed over."""

    def __init__(self) -> None:
        self.items: list[RawItem] = []
        self.number = 0
        self.unknown_key: str | None = None
        self.found = False
        self.bytes_since_item = 0
        self._depth = 0
        self._key: str | None = None
        self._inside = False
        self._too_deep = False
        self._too_long = False
        self._builder: ObjectBuilder | None = None

    def feed(self, event: str, value: Any) -> None:  # noqa: ANN401 -- a JSON scalar
        if event in CLOSES:
            self._depth -= 1
        if self._depth == 1 and event == "map_key":
            self._key = value
            if value != "seeds":
                self.unknown_key = self.unknown_key or value
        elif self._depth == 0 and event not in CLOSES and event != "start_map":
            raise _not_an_object()
        elif self._depth == 1 and self._key == "seeds" and not self._inside:
            if event != "start_array":
                raise _not_a_list()
            self.found = self._inside = True
        elif self._inside and self._depth == 1 and event == "end_array":
            self._inside = False
        elif self._inside:
            self._feed_item(event, value)
        if event in OPENS:
            self._depth += 1

    def _feed_item(self, event: str, value: Any) -> None:  # noqa: ANN401
        if self._builder is None:
            self._builder, self._too_deep = ObjectBuilder(), False
        if self._depth - 2 > MAX_DEPTH:
            self._too_deep = True
        self._too_long = self._too_long or self.bytes_since_item > MAX_LINE_BYTES + 65536
        if not self._too_deep and not self._too_long:
            self._builder.event(event, value)
        ends = self._depth == 2 and event not in OPENS and event != "map_key"  # noqa: PLR2004 -- {"seeds": [ITEM
        if ends:
            self.number += 1
            item = None if self._too_deep or self._too_long else self._builder.value
            self.items.append(
                RawItem(self.number, b"", value=item, too_deep=self._too_deep, too_long=self._too_long, parsed=True)
            )
            self._too_long = False
            self._builder = None
            self.bytes_since_item = 0


def _not_an_object() -> InvalidInput:
    msg = 'the body must be a JSON object {"seeds": [...]}; for one seed a line send application/x-ndjson'
    return InvalidInput(msg, [FieldError(error=msg, line=1)])


def _not_a_list() -> InvalidInput:
    msg = "`seeds` must be a list of seeds"
    return InvalidInput(msg, [FieldError(error=msg, field="seeds", line=1)])


async def split_document(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[RawItem]]:
    """Lists of items, numbered from 1. Damage ends the reading with an item that says so; those before it are kept.

    Raises:
        InvalidInput: no object with a list `seeds`, or unknown members beside it.
    """
    reader = _Reader()
    events = ijson.sendable_list()
    parser = parsing.basic_parse_coro(events, use_float=True)
    broken: str | None = None
    first = True
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        async for raw in chunks:
            chunk = raw.removeprefix(BOM) if first else raw
            first = False
            for start in range(0, len(chunk), 65536):
                piece, broken = _valid(decoder, chunk[start : start + 65536])
                parser.send(piece)
                reader.bytes_since_item += len(piece) if piece.strip() else 0
                _drain(events, reader)
                if reader.bytes_since_item > MAX_HELD_BYTES:
                    broken = f"longer than {MAX_HELD_BYTES} bytes; nothing after it was read. Send large files as application/x-ndjson."
                if broken:
                    break
                if reader.items:
                    yield _take(reader)
            if broken:
                break
        else:
            parser.close()
            _drain(events, reader)
    except ijson.JSONError as exc:
        _drain(events, reader)
        broken = f"not valid JSON from here on, nothing after it was read: {_first_line(exc)}"
    finally:
        with contextlib.suppress(ijson.JSONError):
            parser.close()  # else it complains of the unread rest when it is collected
    if reader.items:
        yield _take(reader)
    last = _closing(reader, broken)
    if last is not None:
        yield [last]


def _closing(reader: _Reader, broken: str | None) -> RawItem | None:
    """The item that stands for damage, if the seeds had begun; raises InvalidInput for what is no seeds document."""
    if broken is not None and not reader.found:
        msg = f'the body is not valid JSON ({broken}); it must be an object {{"seeds": [...]}}'
        raise InvalidInput(msg, [FieldError(error=msg, line=1)])
    if broken is not None:
        return RawItem(reader.number + 1, b"", broken=broken)
    if not reader.found:
        raise _not_an_object()
    if reader.unknown_key is not None:
        msg = f"unknown member {reader.unknown_key!r}: the body holds `seeds` and nothing else"
        raise InvalidInput(msg, [FieldError(error=msg, field=reader.unknown_key)])
    return None


def _valid(decoder: codecs.IncrementalDecoder, piece: bytes) -> tuple[bytes, str | None]:
    """The piece up to where it stops being UTF-8, and the words for that."""
    held = len(decoder.getstate()[0])
    try:
        decoder.decode(piece)
    except UnicodeDecodeError as exc:
        return piece[
            : max(0, exc.start - held)
        ], "not valid UTF-8 from here on, nothing after it was read: save the file as UTF-8"
    return piece, None


def _drain(events: Any, reader: _Reader) -> None:  # noqa: ANN401 -- ijson.sendable_list is untyped
    taken = list(events)
    del events[:]
    for event, value in taken:
        reader.feed(event, value)


def _take(reader: _Reader) -> list[RawItem]:
    items, reader.items = reader.items, []
    return items


def _first_line(exc: Exception) -> str:
    words = exc.args[0] if exc.args else exc
    return (words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)).strip().splitlines()[0]
