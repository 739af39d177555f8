"""Chunks into lines, with a line that is too long passed over rather than held."""

from __future__ import annotations

from collections.abc import AsyncIterator

from app.seeds.parse import BOM, MAX_LINE_BYTES, RawItem


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[RawItem]]:
    """Lists of lines, numbered from 1; blank lines count but are passed over.

    At most MAX_LINE_BYTES of an unfinished line are held; one that is longer comes out as `too_long`.
    """
    number = 0
    pending = bytearray()
    skipping = False
    async for chunk in chunks:
        lines = chunk.split(b"\n")
        items: list[RawItem] = []
        for index, piece in enumerate(lines):
            last = index == len(lines) - 1
            if not skipping:
                if len(pending) + len(piece) > MAX_LINE_BYTES:
                    skipping = True
                    pending.clear()
                else:
                    pending += piece
            if not last:
                number += 1
                if skipping:
                    items.append(RawItem(number, b"", too_long=True))
                elif line := _content(number, pending):
                    items.append(RawItem(number, line))
                pending.clear()
                skipping = False
        if items:
            yield items
    number += 1
    if skipping:
        yield [RawItem(number, b"", too_long=True)]
    elif line := _content(number, pending):
        yield [RawItem(number, line)]


def _content(number: int, pending: bytearray) -> bytes:
    """The line without a byte order mark; empty for a blank one."""
    line = bytes(pending)
    return (line.removeprefix(BOM) if number == 1 else line).strip()
