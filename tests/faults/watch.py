"""Looks at the funnel over REST for as long as a case runs: it must add up at every poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.support.stack import Client, assert_adds_up

POLL_S = 0.05


class Watch:
    """`polls` that added up; `refused` those that were answered 503, which only a declared outage excuses."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.polls = 0
        self.refused = 0
        self.total = 0
        self.view: dict[str, Any] | None = None
        self._outage = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def over(cls, client: Client) -> AsyncIterator[Watch]:
        watch = cls(client)
        watch._task = asyncio.create_task(watch._run())
        try:
            yield watch
            watch.check()
        finally:
            watch._task.cancel()
            await asyncio.gather(watch._task, return_exceptions=True)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """While this lasts the API may say 503, and nothing else but the truth."""
        self._outage = True
        try:
            yield
        finally:
            self._outage = False

    def check(self) -> None:
        """Raises what the watch has found."""
        assert self._task is not None
        if self._task.done():
            self._task.result()

    def seeds(self, state: str) -> int:
        return 0 if self.view is None else int(self.view["seeds"][state])

    async def settled(self, patience_s: float) -> None:
        """Until a poll that began after this call shows the dataset idle."""
        before = self.polls + 1
        async with asyncio.timeout(patience_s):
            while self.polls <= before or self.view is None or self.view["state"] != "idle":
                self.check()
                await asyncio.sleep(0.02)

    async def _run(self) -> None:
        while True:
            total, outage = self.total, self._outage
            response = await self._client.http.get("/v1/datasets/d")
            if response.status_code == 503 and (outage or self._outage):
                self.refused += 1
            else:
                assert response.status_code == 200, response.text
                view = response.json()
                assert_adds_up(view)
                assert view["seeds"]["total"] >= total, "a seed that had been acknowledged is gone"
                self.view = view
                self.polls += 1
            await asyncio.sleep(POLL_S)
