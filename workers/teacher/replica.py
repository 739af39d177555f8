"""One replica of a teacher: its client, its breaker, its level, and what it says of its load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.logs import get_logger
from app.teachers.config import Teacher, shown_url
from workers.teacher.breaker import Breaker
from workers.teacher.client import TeacherClient
from workers.teacher.concurrency import Concurrency
from workers.teacher.engine_load import EngineLoad
from workers.teacher.errors import (
    NotServed,
    Overloaded,
    SeedRefused,
    ServerFailed,
    TeacherError,
    TeacherFault,
    TimedOut,
    Unauthorized,
    Unavailable,
    WrongModel,
)
from workers.teacher.types import ChatRequest, Reply

logger = get_logger(__name__)
POLL_S = 0.5
PROBED_S = 2.0
FIRST_POLL_S = 0.1  # while the level is still being doubled
SILENT_POLL_S = 5.0  # a server without vLLM's metrics is asked again now and then: it may be replaced by one with them
LOGGED_CHANGE = 0.2


@dataclass
class PrefixCache:
    """Tokens looked up in vLLM's prefix cache since this worker first saw the server, and those found."""

    queries: int = 0
    hits: int = 0

    def count(self, before: EngineLoad, now: EngineLoad) -> None:
        """A server that was restarted counts from nothing again: that interval is passed over."""
        if now.prefix_queries >= before.prefix_queries and now.prefix_hits >= before.prefix_hits:
            self.queries += now.prefix_queries - before.prefix_queries
            self.hits += now.prefix_hits - before.prefix_hits


class Replica:
    """Calls one server, no more at a time than its level, none while its breaker is open.

    `left` is called when a call has ended, `moved` when the level may have.
    """

    def __init__(
        self,
        teacher: Teacher,
        url: str,
        clock: Callable[[], float],
        *,
        most: int,
        left: Callable[[], None],
        moved: Callable[[], None],
    ) -> None:
        self.url = shown_url(url)
        self.in_flight = 0
        self.breaker = Breaker(clock)
        self.concurrency = Concurrency(clock, start=teacher.start_in_flight, most=most)
        self.client = TeacherClient(teacher, url)
        self.load: EngineLoad | None = None
        self._teacher = teacher
        self._clock = clock
        self._left = left
        self._moved = moved
        self._prefix = PrefixCache()
        self._answers = 0
        self._answered_at = float("-inf")
        self._generated_at = clock()
        self._logged_level = self.concurrency.level
        self._live: set[asyncio.Timeout] = set()

    def room(self) -> int:
        """How many calls may start now."""
        if not self.breaker.allows():
            return 0
        if self.breaker.troubled:
            return 1
        return max(0, int(self.concurrency.level) - self.in_flight)

    def crowding(self) -> float:
        """Calls in flight as a share of the level."""
        return self.in_flight / self.concurrency.level

    def enter(self) -> float:
        """A call takes its place; returns when it began, for `generate`."""
        self.in_flight += 1
        began = self._clock()
        self.breaker.began(began)
        self.concurrency.began(self.in_flight)
        return began

    async def generate(self, request: ChatRequest, began: float) -> Reply:
        """The call that has entered; it leaves whatever comes of it.

        Raises:
            TeacherError: as the client raises it.
        """
        try:
            reply = await self._generate(request)
        except TeacherError as exc:
            if isinstance(exc, Unavailable) and self._answered_at > began:
                # A proxy gave up on this call while the replica answers others: it may be the call that is too long.
                passing = ServerFailed(exc.message, raw=exc.raw)
                passing.latency_ms = exc.latency_ms
                self._tell(passing, began)
                raise passing from exc
            self._tell(exc, began)
            raise
        else:
            self._answers += 1
            self._answered_at = self._clock()
            self.breaker.answered(began)
            self.concurrency.answered(began, reply.completion_tokens)
            return reply
        finally:
            self.leave(began)

    def leave(self, began: float) -> None:
        """The call that had entered has ended."""
        self.in_flight -= 1
        self.breaker.ended(began)
        self._left()

    async def _generate(self, request: ChatRequest) -> Reply:
        """Bounded by the client's own timeouts, and ended at once where the whole engine is seen to stand still."""
        stalled = asyncio.timeout(None)
        try:
            async with stalled:
                self._live.add(stalled)
                return await self.client.generate(request)
        except TimeoutError as exc:
            msg = f"vLLM has generated nothing for {self._teacher.token_idle_timeout_s:g} s (its /metrics) with calls in flight"
            raise TimedOut(msg) from exc
        finally:
            self._live.discard(stalled)

    def _tell(self, exc: TeacherError, began: float) -> None:
        # A teacher's own words on why it cannot be used; of a reply that was no good, only its class: it may hold an answer.
        shown = exc.message[:300] if isinstance(exc, TeacherFault) else "many calls running failed so"
        words = f"{exc.error_class}: {shown}".replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        pause_s = None
        if isinstance(exc, SeedRefused):
            self.breaker.answered(began)
        elif isinstance(exc, Overloaded):
            # A replica that answers others has its hands full: a lower level is enough. One that answers nobody is
            # not overloaded but away, and its level has nothing to learn from that.
            first, troubled = not self.breaker.same_wave(began), self.breaker.troubled
            answers, self._answers = (self._answers, 0) if first else (1, self._answers)
            if answers and not troubled:
                self.concurrency.refused(self.in_flight, first_of_wave=first)
                self.breaker.overloaded(began)
            else:
                pause_s = self.breaker.failed(began, words)
        elif isinstance(exc, TeacherFault):
            needs_mending = isinstance(exc, Unauthorized | NotServed | WrongModel)
            pause_s = self.breaker.failed(began, words, needs_mending=needs_mending)
        else:
            if isinstance(exc, TimedOut):
                self.concurrency.timed_out(began)
            pause_s = self.breaker.stumbled(began, words)
        if pause_s is not None:
            logger.warning("teacher_left_alone", **self._names(), error=words, pause_s=round(pause_s, 1))

    async def watch(self) -> None:
        """Read the server's metrics until cancelled."""
        while True:
            load = await self.client.engine_load()
            try:
                if load is not None:
                    self._observe(load)
                self._log_level()
                self._moved()
            except Exception:
                logger.exception("replica_not_watched", **self._names())  # a watch that ended would leave the level where it is
            self.load = load
            pause_s = SILENT_POLL_S if load is None else FIRST_POLL_S if self.concurrency.doubling else POLL_S
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 -- many workers poll one server

    def _observe(self, load: EngineLoad) -> None:
        now = self._clock()
        if self.load is not None:
            self._prefix.count(self.load, load)
        if self.load is None or load.generated != self.load.generated or not self.in_flight:
            self._generated_at = now
        elif now - self._generated_at > self._teacher.token_idle_timeout_s:
            logger.warning(
                "teacher_stalled", **self._names(), calls=len(self._live), seconds=round(now - self._generated_at, 1)
            )
            self._generated_at = now
            for call in self._live:
                call.reschedule(asyncio.get_running_loop().time())
        # The server is there again, and the probe may take minutes to say so.
        self.breaker.seen_alive(after_s=PROBED_S)
        self.concurrency.polled(load, self.in_flight)

    def _log_level(self) -> None:
        level = self.concurrency.level
        if abs(level - self._logged_level) > LOGGED_CHANGE * self._logged_level:
            logger.info(
                "level_moved", **self._names(), before=round(self._logged_level), now=round(level), why=self.concurrency.reason
            )
            self._logged_level = level

    def _names(self) -> dict[str, str]:
        return {"teacher": self._teacher.name, "url": self.url}

    def status(self) -> dict[str, Any]:
        """As it is shown to users (JSON)."""
        load = self.load
        return {
            "url": self.url,
            "level": round(self.concurrency.level, 1),
            "level_reason": self.concurrency.reason,
            "steered_by": self.concurrency.steered_by,
            "in_flight": self.in_flight,
            "fault": self.breaker.words,
            "tried_again_in_s": round(self.breaker.opens_in_s(), 1) if self.breaker.troubled else None,
            "running": load and load.running,
            "waiting": load and load.waiting,
            "kv_cache_use": load and round(load.kv_use, 4),
            "preemptions": load and load.preemptions,
            "prefix_queries": self._prefix.queries,
            "prefix_hits": self._prefix.hits,
        }
