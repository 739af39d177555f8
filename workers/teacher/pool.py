"""The replicas behind one teacher's name: each call goes to the least loaded that is well, in the order of asking."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AsyncExitStack
from typing import Any, Self

from app.teachers.config import Teacher
from workers.teacher.errors import Recalled
from workers.teacher.replica import Replica
from workers.teacher.types import ChatRequest, Reply

# A call may go to the replica that its seed's other samples went to (their prefix is cached there)
# as long as that one is not fuller than the least loaded by more than this share of its level.
PREFERENCE = 0.2


class TeacherPool:
    """A teacher as one worker calls it; a context manager that watches the replicas and closes their clients.

    At most `most` calls are in flight, all replicas together. A replica that fails costs the calls that it had.
    """

    def __init__(self, teacher: Teacher, most: int, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when the level may have moved."""
        self.most = most
        self._changed = changed
        self.replicas = [
            Replica(teacher, url, time.monotonic, most=most, left=self._wake, moved=self._moved) for url in teacher.urls
        ]
        self._waiting: deque[tuple[asyncio.Future[tuple[Replica, float]], int]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        # Of each group the calls, and whether the teacher has them.
        self._calls: dict[Hashable, dict[asyncio.Timeout, bool]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for replica in self.replicas:
            await self._stack.enter_async_context(replica.client)
            self._stack.push_async_callback(_end, asyncio.create_task(replica.watch()))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        await self._stack.aclose()

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return sum(replica.in_flight for replica in self.replicas)

    @property
    def level(self) -> int:
        """How many calls it takes at once now: the levels of the replicas that are well, or one probe."""
        well = sum(int(replica.concurrency.level) for replica in self.replicas if not replica.breaker.troubled)
        return max(1, min(self.most, well))

    @property
    def troubled(self) -> bool:
        """No replica is known to be well."""
        return all(replica.breaker.troubled for replica in self.replicas)

    def room(self) -> int:
        """How many calls could start now beyond those that wait already."""
        free = min(self.most - self.in_flight, sum(replica.room() for replica in self.replicas))
        return max(0, free - len(self._waiting))

    async def generate(self, request: ChatRequest, *, group: Hashable = None, affinity: int = 0) -> Reply:
        """One call, when its turn has come.

        `group` names the calls that `recall` ends together; calls of one `affinity` prefer the same replica.

        Raises:
            TeacherError: as the client raises it. Recalled: `recall` ended it; `sent` tells whether the teacher had it.
        """
        scope = asyncio.timeout(None)
        calls = self._calls.setdefault(group, {})
        calls[scope] = False
        try:
            async with scope:
                replica, began = await self._enter(affinity)
                calls[scope] = True
                return await replica.generate(request, began)
        except TimeoutError as exc:
            raise Recalled(sent=calls[scope]) from exc
        finally:
            del calls[scope]
            if not calls and self._calls.get(group) is calls:
                del self._calls[group]

    def recall(self, group: Hashable, *, waiting_only: bool = False) -> int:
        """End the group's calls: those that wait, and those in flight too unless told otherwise; vLLM aborts what is hung
        up on. Returns how many.
        """
        calls = [
            scope
            for scope, sent in self._calls.get(group, {}).items()
            if not scope.expired() and scope.when() is None and not (sent and waiting_only)
        ]
        for scope in calls:
            scope.reschedule(asyncio.get_running_loop().time())
        return len(calls)

    def recall_waiting(self) -> int:
        """End every call that the teacher does not have yet."""
        return sum(self.recall(group, waiting_only=True) for group in list(self._calls))

    async def _enter(self, affinity: int) -> tuple[Replica, float]:
        replica = self._choose(affinity) if not self._waiting else None
        if replica is not None:
            return replica, replica.enter()
        turn: asyncio.Future[tuple[Replica, float]] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, affinity))
        self._set_alarm()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the turn was given in the same breath: it is passed on
                given, began = turn.result()
                given.leave(began)
            elif (turn, affinity) in self._waiting:
                self._waiting.remove((turn, affinity))
            raise

    def _choose(self, affinity: int) -> Replica | None:
        if self.in_flight >= self.most:
            return None
        free = [replica for replica in self.replicas if replica.room() > 0]
        if not free:
            return None
        best = min(free, key=Replica.crowding)
        preferred = self.replicas[affinity % len(self.replicas)]
        near = preferred in free and preferred.crowding() <= best.crowding() + PREFERENCE
        return preferred if near else best

    def _wake(self) -> None:
        while self._waiting:
            turn, affinity = self._waiting[0]
            if turn.done():  # cancelled; its owner is about to remove it, or cannot any more
                self._waiting.popleft()
                continue
            replica = self._choose(affinity)
            if replica is None:
                return
            self._waiting.popleft()
            turn.set_result((replica, replica.enter()))

    def _moved(self) -> None:
        self._wake()
        self._changed()

    def _set_alarm(self) -> None:
        """A breaker opens by the clock alone."""
        if self._alarm is None:
            delay_s = min((replica.breaker.opens_in_s() for replica in self.replicas), default=0.0) or 1.0
            self._alarm = asyncio.get_running_loop().call_later(delay_s + 0.01, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()
        if self._waiting:
            self._set_alarm()

    def status(self) -> dict[str, Any]:
        """As it is shown to users (JSON)."""
        return {"level": self.level, "in_flight": self.in_flight, "replicas": [replica.status() for replica in self.replicas]}


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
