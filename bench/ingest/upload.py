"""The client: one chunked POST of a file over loopback HTTP, and a thread that reads the API's memory meanwhile."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
import psutil

CHUNK_BYTES = 64 * 1024
SAMPLE_S = 0.05


@dataclass
class Memory:
    """RSS of a process beside the bytes that had been sent by then."""

    process: psutil.Process
    sent: int = 0
    samples: list[tuple[int, int]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def growth(self, after_bytes: int) -> int:
        """The highest RSS from there to the end, less the RSS there; in bytes."""
        late = [rss for sent, rss in self.samples if sent >= after_bytes]
        return max(late) - late[0]

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.samples.append((self.sent, self.process.memory_info().rss))


def upload(port: int, path: str, headers: dict[str, str], file: Path, memory: Memory) -> tuple[float, dict[str, Any]]:
    """(seconds from the request to the whole answer, the answer)."""

    def chunks() -> Iterator[bytes]:
        with file.open("rb") as body:
            while chunk := body.read(CHUNK_BYTES):
                yield chunk
                memory.sent += len(chunk)

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    began = time.perf_counter()
    connection.request("POST", path, body=chunks(), headers=headers, encode_chunked=True)
    response = connection.getresponse()
    answer = orjson.loads(response.read())
    seconds = time.perf_counter() - began
    assert response.status == 202, (response.status, answer)
    connection.close()
    return seconds, answer
