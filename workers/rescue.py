"""Rescue: every worker, now and then, takes back the seeds of workers whose heartbeat stopped."""

from __future__ import annotations

import asyncio
import random

from app.database import Database
from app.logs import get_logger
from app.queue.repository import QueueRepository
from workers.heartbeat import Heartbeat

logger = get_logger(__name__)


async def rescue_forever(database: Database, heartbeat: Heartbeat, interval_s: float) -> None:
    """Runs until cancelled; a database that is away is waited for.

    Only a worker that has itself beaten steadily for a whole lease time may call others dead: after an
    outage of the database nobody could beat, and whoever came back first would take all seeds from the living.
    """
    while True:
        await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))  # noqa: S311 -- so that many workers do not rescue in step
        if heartbeat.steady_for_s() < heartbeat.lease_s:
            continue
        try:
            async with database.begin() as connection:
                queued, failed = await QueueRepository(connection).rescue()
        except Exception as exc:  # noqa: BLE001 -- the next round tries again
            logger.warning("rescue_failed", error=repr(exc)[:300])
            continue
        if queued or failed:
            logger.info("rescued", queued=queued, failed=failed)
