"""The heartbeat: one row a process, beaten from a thread, so that a blocked event loop costs no lease and shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from app.database import Database
from app.logs import get_logger

logger = get_logger(__name__)
BEAT = """
    INSERT INTO workers (worker_id, name, lease_s, in_flight, loop_lag_s, status) VALUES ($1, $2, $3, $4, $5, $6::jsonb)
    ON CONFLICT (worker_id) DO UPDATE
    SET beat_at = now(), in_flight = excluded.in_flight, loop_lag_s = excluded.loop_lag_s, status = excluded.status
"""
BEAT_TIMEOUT_S = 10
TICK_S = 0.5


class Heartbeat:
    """Beats every `interval_s` from `start` until `stop`, on a connection of its own."""

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        *,
        lease_s: float,
        interval_s: float,
        in_flight: Callable[[], int],
        status: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self.lease_s = lease_s
        self._interval_s = interval_s
        self._timeout_s = min(BEAT_TIMEOUT_S, lease_s / 3)  # so that there is time for another within the lease
        self._in_flight = in_flight
        self._status = status
        self._stop = threading.Event()
        self._beaten = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_tick = time.monotonic()
        self._last_beat: float | None = None
        self._steady_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def start(self, stop: asyncio.Event) -> bool:
        """Returns after the first beat, since a lease taken before it would look like a dead worker's; False if `stop` came first."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        waits = [asyncio.ensure_future(self._beaten.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._beaten.is_set() and not stop.is_set()

    def steady_for_s(self) -> float:
        """How long this worker has beaten without a miss or a gap; 0 before the first beat.

        A beat that hangs, on a connection that no longer answers, is a gap too once it has lasted for a lease.
        """
        now = time.monotonic()
        if self._steady_since is None or self._last_beat is None or now - self._last_beat > self.lease_s:
            return 0.0
        return now - self._steady_since

    async def tick(self) -> None:
        """Run on the event loop that is to be watched."""
        while True:
            self._last_tick = time.monotonic()
            await asyncio.sleep(TICK_S)  # the loop shows that it is alive by coming back here

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=BEAT_TIMEOUT_S + 1)

    def _run(self) -> None:
        asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        connection: asyncpg.Connection | None = None
        while not self._stop.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await self._database.connect()
                lag_s = max(0.0, time.monotonic() - self._last_tick - TICK_S)
                if lag_s > self._interval_s:
                    logger.warning("event_loop_blocked", seconds=round(lag_s, 1))
                if self._last_beat is not None and time.monotonic() - self._last_beat > self.lease_s:
                    self._steady_since = None  # stopped and continued, perhaps: others may have been taken for dead
                status = orjson.dumps(self._status()).decode()
                values = (self._worker_id, self._name, self.lease_s, self._in_flight(), lag_s, status)
                await connection.execute(BEAT, *values, timeout=self._timeout_s)
                self._last_beat = time.monotonic()
                self._steady_since = self._steady_since or self._last_beat
                if self._loop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._beaten.set)
            except Exception as exc:  # noqa: BLE001 -- a thread that ended would cost every lease
                self._steady_since = None
                logger.warning("heartbeat_missed", error=repr(exc)[:300])
                if connection is not None:
                    connection.terminate()
                    connection = None
            await asyncio.to_thread(self._stop.wait, self._interval_s)
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)
