"""Pausing the datasets that have reached their target or a budget."""

from __future__ import annotations

import asyncio
import random

from app.database import Database
from app.datasets.spending import SpendingRepository
from app.logs import get_logger

logger = get_logger(__name__)
LOOK_EVERY_S = 1.0


async def pause_at_limits(database: Database) -> None:
    """Runs until cancelled; every worker looks about once a second."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 -- so that many workers do not look in step
        try:
            async with database.begin() as connection:
                paused = await SpendingRepository(connection).pause_reached()
        except Exception as exc:  # noqa: BLE001 -- the next round looks again
            logger.info("limits_not_seen_to", error=repr(exc)[:200])
            continue
        for dataset_id, words in paused:
            logger.info("dataset_paused", dataset_id=dataset_id, why=words)
