"""`python -m tests.faults.claimer DSN`: leases and settles seeds without a teacher, until there are none; prints each seed's id."""

from __future__ import annotations

import asyncio
import sys
import uuid

from app.database import Database
from app.queue.repository import QueueRepository
from app.queue.states import LeaseUpdate

SIZE = 50


async def main(dsn: str) -> None:
    database = Database(dsn, pool_size=1, lookups=True)
    worker_id = uuid.uuid4()
    while True:
        async with database.begin() as connection:
            due = await QueueRepository(connection).runnable()
        if not due:
            break
        async with database.begin() as connection:
            leased = await QueueRepository(connection).claim(due[0], worker_id, SIZE)
        async with database.begin() as connection:
            settled = await QueueRepository(connection).update({seed.key: LeaseUpdate("done", ()) for seed in leased})
        assert settled == len(leased), "a lease was lost to nobody"
        sys.stdout.write("".join(f"{seed.key.seed_id}\n" for seed in leased))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
