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
        *ended, rest = chunk.split(b"\n")
        items: list[RawItem] = []
        if ended:
            # Only the first of them may have begun in an earlier chunk.
            ended[0] = b"".join((pending, ended[0]))
            pending.clear()
            for line in ended:
                number += 1
                if skipping or len(line) > MAX_LINE_BYTES:
                    items.append(RawItem(number, b"", too_long=True))
                    skipping = False
                elif content := _content(number, line):
                    items.append(RawItem(number, content))
        if not skipping:
            pending += rest
            if len(pending) > MAX_LINE_BYTES:
                skipping = True
                pending.clear()
        if items:
            yield items
    number += 1
    if skipping:
        yield [RawItem(number, b"", too_long=True)]
    elif content := _content(number, bytes(pending)):
        yield [RawItem(number, content)]


def _content(number: int, line: bytes) -> bytes:
    """The line without a byte order mark; empty for a blank one."""
    return (line.removeprefix(BOM) if number == 1 else line).strip()
