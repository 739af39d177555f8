"""/metrics: Prometheus's text format, of the live workers and their teachers; read from their heartbeats at each scrape.

Counters are a worker's own and end with it: sum `rate()` over `worker`. Needs no key, and names no dataset.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.database import Database
from app.teachers.repository import TeacherStatusRepository, WorkerStatus

router = APIRouter(tags=["health"])
REPLICA_GAUGES = (
    ("level", "level", "Calls that the worker gives the replica at once."),
    ("in_flight", "in_flight", "Calls of the worker under way at the replica."),
    ("running", "running", "Requests that the replica says it runs, everybody's."),
    ("waiting", "waiting", "Requests that wait in the replica, everybody's."),
    ("kv_cache_use", "kv_cache_use_ratio", "Use of the replica's KV cache, 0 to 1."),
)
REPLICA_COUNTERS = (
    ("prefix_queries", "prefix_cache_queries_tokens", "Tokens looked up in the replica's prefix cache."),
    ("prefix_hits", "prefix_cache_hits_tokens", "Tokens found in the replica's prefix cache."),
)
STORED = {
    "attempts": "Teacher calls stored.",
    "accepted": "Samples accepted.",
    "rejected": "Samples rejected.",
    "stale": "Late completions fenced off.",
}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    database: Database = request.app.state.database
    async with database.begin() as connection:
        workers = await TeacherStatusRepository(connection).workers()
    registry = CollectorRegistry()
    registry.register(Workers(workers))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class Workers(Collector):
    """The workers of one instant."""

    def __init__(self, workers: list[WorkerStatus]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        alive = GaugeMetricFamily("limbeck_workers", "Workers whose heartbeat is fresh.")
        alive.add_metric([], len(self._workers))
        yield alive
        lag = GaugeMetricFamily("limbeck_worker_loop_lag_seconds", "How long the event loop was blocked.", labels=["worker"])
        for worker in self._workers:
            lag.add_metric([worker.name], worker.loop_lag_s)
        yield lag
        for key, text in STORED.items():
            counter = CounterMetricFamily(f"limbeck_worker_{key}", text, labels=["worker"])
            for worker in self._workers:
                counter.add_metric([worker.name], worker.stored.get(key, 0))
            yield counter
        yield from self._replicas()

    def _replicas(self) -> Iterator[Metric]:
        labels = ["worker", "teacher", "url"]
        told = [
            ([worker.name, name, replica["url"]], replica)
            for worker in self._workers
            for name, teacher in worker.teachers.items()
            for replica in teacher["replicas"]
        ]
        well = GaugeMetricFamily(
            "limbeck_teacher_up", "1 while the replica is called, 0 while it is left alone.", labels=labels
        )
        for values, replica in told:
            well.add_metric(values, replica["fault"] is None)
        yield well
        for key, name, text in REPLICA_GAUGES:
            gauge = GaugeMetricFamily(f"limbeck_teacher_{name}", text, labels=labels)
            for values, replica in told:
                if replica[key] is not None:
                    gauge.add_metric(values, replica[key])
            yield gauge
        for key, name, text in REPLICA_COUNTERS:
            counter = CounterMetricFamily(f"limbeck_teacher_{name}", text, labels=labels)
            for values, replica in told:
                counter.add_metric(values, replica[key])
            yield counter
