"""When batches are stored: while the next is read and parsed, and one at a time into a dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

Work = Callable[[], Coroutine[Any, Any, None]]


class Overlap:
    """At most one piece of work at a time, in the order in which they were started; the next waits for the last.

    So batches keep their order, and no more than two are held. An error comes out of the next call; whoever leaves
    the block finds the work ended: done if the body broke off, cancelled if the caller was.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self, work: Work) -> None:
        """Begin, once what was started before is done."""
        await self._join()
        self._task = asyncio.create_task(work())

    async def check(self) -> None:
        """Raise the error of work that has failed, without waiting for work that goes on."""
        if self._task is not None and self._task.done():
            await self._join()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self._join()
        elif self._task is not None:
            if issubclass(kind, asyncio.CancelledError):
                self._task.cancel()
            # The error on its way out is the one to tell of; gather keeps the other from being logged as unseen.
            await asyncio.gather(self._task, return_exceptions=True)

    async def _join(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await task


class Turns:
    """One store at a time into each dataset, in the order in which they asked.

    The database has a lock for that (repository.TAKE_TURN), which holds between processes; but whoever waits for that
    one holds a connection, and many uploads into one dataset would leave none for other requests.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, dataset_id: int) -> asyncio.Lock:
        """The dataset's turn; to be held while storing."""
        return self._locks.setdefault(dataset_id, asyncio.Lock())
