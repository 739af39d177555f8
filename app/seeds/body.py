"""The request's body as a stream of decompressed chunks; at no time is it held whole."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request

from app.errors import InvalidInput, UnsupportedMedia
from app.seeds.parse import RawItem

MAX_CHUNK_BYTES = 64 * 1024
GZIP_WINDOW = 31  # zlib's wbits for "gzip header, largest window"


Split = Callable[[AsyncIterator[bytes]], AsyncIterator[list[RawItem]]]


class Body:
    """One request's body: read once, item by item, with the digest of what was read."""

    def __init__(self, request: Request, split: Split) -> None:
        self._chunks = read_chunks(request)
        self._split = split
        self._hash = hashlib.sha256()

    def items(self) -> AsyncIterator[list[RawItem]]:
        """The items, numbered from 1."""
        return self._split(self._hashed())

    async def drain(self) -> None:
        """Read to the end, for the digest alone."""
        async for _ in self._hashed():
            pass

    def digest(self) -> bytes:
        """SHA-256 of the decompressed bytes read so far."""
        return self._hash.digest()

    async def _hashed(self) -> AsyncIterator[bytes]:
        """Pieces of at most MAX_CHUNK_BYTES. Much can come of one read (a gzip bomb): other requests have a turn between."""
        async for chunk in self._chunks:
            self._hash.update(chunk)
            for start in range(0, len(chunk), MAX_CHUNK_BYTES):
                yield chunk[start : start + MAX_CHUNK_BYTES]
                await asyncio.sleep(0)


async def read_chunks(request: Request) -> AsyncIterator[bytes]:
    """Chunks, of at most 64 KiB where they are unpacked, so that a small gzip bomb cannot become one large string.

    Raises:
        UnsupportedMedia: a Content-Encoding other than gzip.
        InvalidInput: not gzip, though said to be; or cut off.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in request.stream():
            yield chunk
    elif encoding in ("gzip", "x-gzip"):
        async for chunk in _gunzip(request):
            yield chunk
    else:
        msg = f"Content-Encoding {encoding!r} is not taken here; send gzip, or nothing."
        raise UnsupportedMedia(msg)


async def _gunzip(request: Request) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(GZIP_WINDOW)
    started = False
    try:
        async for chunk in request.stream():
            rest = chunk
            while rest:
                if inflater.eof:  # gzip files may be concatenated (RFC 1952, 2.2)
                    inflater = zlib.decompressobj(GZIP_WINDOW)
                started = True
                piece = inflater.decompress(rest, MAX_CHUNK_BYTES)
                rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                if piece:
                    yield piece
                elif not rest:
                    break
    except zlib.error as exc:
        msg = f"The body is not valid gzip ({exc}). Lines before the damage are kept; send the whole again, repeats are not stored twice."
        raise InvalidInput(msg) from exc
    while started and not inflater.eof:
        piece = inflater.decompress(b"", MAX_CHUNK_BYTES)
        if not piece:
            msg = "The gzip body ends before its end. Lines before the cut are kept; send the whole again, repeats are not stored twice."
            raise InvalidInput(msg)
        yield piece
