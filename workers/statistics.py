"""Fresh statistics while the tables grow fast: autovacuum's first ANALYZE comes a minute late (docs/decisions/0003)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import text

from app.database import Database
from app.logs import get_logger

logger = get_logger(__name__)
FIRST_ROWS = 1000
GROWTH = 8
POLL_S = 1.0
# Somebody else may be analysing: then there is nothing to do.
LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '2s'")
ANALYZE = text("ANALYZE seeds, leases, attempts, samples, duplicate_keys")
UP_TO_DATE = text("SELECT reltuples >= :rows FROM pg_class WHERE oid = 'attempts'::regclass")


async def analyze_as_it_grows(database: Database, stored: Callable[[], int]) -> None:
    """ANALYZE when this worker has stored 1,000 rows, 8,000, 64,000 …, if nobody did meanwhile. Runs until cancelled."""
    due = FIRST_ROWS
    while True:
        await asyncio.sleep(POLL_S)
        if stored() < due:
            continue
        try:
            async with database.begin() as connection:
                await connection.execute(LOCK_TIMEOUT)
                if not (await connection.execute(UP_TO_DATE, {"rows": due / 2})).scalar():
                    await connection.execute(ANALYZE)
        except Exception as exc:  # noqa: BLE001 -- statistics are a help; autovacuum brings them too
            logger.info("analyze_skipped", error=repr(exc)[:200])
        due *= GROWTH
