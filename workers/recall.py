"""Hanging up on the calls of datasets that were paused, cancelled or deleted: within about a second."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from app.database import Database
from app.logs import get_logger
from app.queue.repository import QueueRepository
from workers.held import Hands
from workers.teacher.pool import TeacherPool

logger = get_logger(__name__)
LOOK_EVERY_S = 1.0


async def recall_stopped(database: Database, hands: Hands, pools: Iterable[TeacherPool]) -> None:
    """Runs until cancelled. The seeds go back into the queue (or stay cancelled); what was in flight is an attempt `recalled`."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        held = hands.datasets()
        if not held:
            continue
        try:
            async with database.begin() as connection:
                stopped = await QueueRepository(connection).stopped(held)
        except Exception as exc:  # noqa: BLE001 -- the next round looks again
            logger.info("recall_skipped", error=repr(exc)[:200])
            continue
        for dataset, paid_for in stopped.items():
            calls = sum(pool.recall(dataset, waiting_only=paid_for) for pool in pools)
            if calls:
                logger.info("calls_recalled", dataset_id=dataset[1], calls=calls)
