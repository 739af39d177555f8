"""The heartbeat: one row a process, beaten from a thread, so that a blocked event loop costs no lease and shows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from uuid import UUID

import asyncpg

from app.database import Database
from app.logs import get_logger

logger = get_logger(__name__)
BEAT = """
    INSERT INTO workers (worker_id, name, lease_s, in_flight, loop_lag_s) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (worker_id) DO UPDATE
    SET beat_at = now(), in_flight = excluded.in_flight, loop_lag_s = excluded.loop_lag_s
"""
BEAT_TIMEOUT_S = 10
TICK_S = 0.5


class Heartbeat:
    """Beats every `interval_s` from `start` until `stop`, on a connection of its own."""

    def __init__(
        self, database: Database, worker_id: UUID, *, lease_s: float, interval_s: float, in_flight: Callable[[], int]
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._lease_s = lease_s
        self._interval_s = interval_s
        self._in_flight = in_flight
        self._stop = threading.Event()
        self._beaten = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_tick = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    async def start(self) -> None:
        """Returns after the first beat: a lease taken before it would look like a dead worker's."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        await self._beaten.wait()

    async def tick(self) -> None:
        """Run on the event loop that is to be watched."""
        while True:
            self._last_tick = time.monotonic()
            await asyncio.sleep(TICK_S)  # the loop shows that it is alive by coming back here

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stop.set()
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
                await connection.execute(
                    BEAT, self._worker_id, self._name, self._lease_s, self._in_flight(), lag_s, timeout=BEAT_TIMEOUT_S
                )
                if self._loop is not None and not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._beaten.set)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                logger.warning("heartbeat_missed", error=repr(exc)[:300])
                if connection is not None:
                    connection.terminate()
                    connection = None
            await asyncio.to_thread(self._stop.wait, self._interval_s)
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)
