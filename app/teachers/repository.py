"""What the workers that are alive tell of their teachers, read from their heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A worker that has missed its whole lease time is gone, and so is what it last said.
ALIVE = text("""
    SELECT name, in_flight, loop_lag_s, status::text AS status FROM workers
    WHERE beat_at > now() - make_interval(secs => lease_s) ORDER BY worker_id
""")


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One live worker: calls in flight, how long its event loop was last blocked, and its teachers by name."""

    name: str
    in_flight: int
    loop_lag_s: float
    teachers: dict[str, dict[str, Any]]
    stored: dict[str, int]


@dataclass(frozen=True, slots=True)
class SeenTeacher:
    """A teacher as all live workers together see it. `left_alone`: none of them has a replica that is well."""

    level: float | None = None
    level_reason: str | None = None
    in_flight: int = 0
    prefix_cache_hit_rate: float | None = None
    faults: tuple[str, ...] = ()
    left_alone: bool = False


class TeacherStatusRepository:
    """Live workers, on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def workers(self) -> list[WorkerStatus]:
        """Those whose heartbeat is fresh."""
        found = []
        for row in await self._connection.execute(ALIVE):
            status = orjson.loads(row.status)
            found.append(
                WorkerStatus(row.name, row.in_flight, row.loop_lag_s, status.get("teachers", {}), status.get("stored", {}))
            )
        return found

    async def seen(self, teacher: str) -> SeenTeacher:
        """One teacher, all workers together."""
        told = [worker.teachers[teacher] for worker in await self.workers() if teacher in worker.teachers]
        return combine([replica for each in told for replica in each["replicas"]])


def combine(replicas: list[dict[str, Any]]) -> SeenTeacher:
    """The same replica may be told of by several workers: levels and calls are theirs to add, its cache is one."""
    if not replicas:
        return SeenTeacher()
    well = [replica for replica in replicas if replica["fault"] is None]
    queries = max(replica["prefix_queries"] for replica in replicas)
    cached = next(replica for replica in replicas if replica["prefix_queries"] == queries)
    return SeenTeacher(
        level=round(sum(replica["level"] for replica in well), 1),
        level_reason=well[0]["level_reason"] if well else None,
        in_flight=sum(replica["in_flight"] for replica in replicas),
        prefix_cache_hit_rate=round(cached["prefix_hits"] / queries, 4) if queries else None,
        faults=tuple(sorted({f"{replica['url']}: {replica['fault']}" for replica in replicas if replica["fault"]})),
        left_alone=not well,
    )
