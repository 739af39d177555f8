"""What the lease machine plays on: one event loop, one database with the API over it, and the queries that look at it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from sqlalchemy import text

from app.database import Database
from tests.faults.servers import Postgres
from tests.support.stack import Client, serving, teachers_of

T = TypeVar("T")
LEASES = text("""
    SELECT l.seed_id, l.state, l.lease_token, l.worker_id, l.tries, l.setbacks, l.error_class, l.open_samples
    FROM leases l JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name
""")
SEED_IDS = text("SELECT seed_id FROM seeds JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name")
DATASET_ID = text("SELECT dataset_id FROM datasets WHERE name = :name")
ATTEMPTS = text("""
    SELECT a.seed_id, a.lease_token, a.sample_index, a.error_class
    FROM attempts a JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name
""")
ACCEPTED = text("""
    SELECT p.seed_id, p.sample_index, count(*)
    FROM samples p JOIN datasets d USING (workspace_id, dataset_id)
    WHERE d.name = :name AND p.verdict = 'accepted' GROUP BY 1, 2
""")
BEAT = text("""
    INSERT INTO workers (worker_id, name, lease_s, beat_at) VALUES (:id, 'machine', 3600, now() - make_interval(secs => :ago))
    ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at
""")


class Stage:
    """One event loop, one database and the API over it, for all of Hypothesis's examples."""

    def __init__(self, postgres: Postgres) -> None:
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        name = self.run(self._stack.enter_async_context(postgres.database()))
        self.database = Database(postgres.dsn(name), lookups=True)
        self._stack.push_async_callback(self.database.close)
        self.client: Client = self.run(
            self._stack.enter_async_context(serving(self.database, teachers_of("http://127.0.0.1:9")))
        )

    def run(self, doing: Awaitable[T]) -> T:
        async def done() -> T:
            return await doing

        return self._runner.run(done())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()
