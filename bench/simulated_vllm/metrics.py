"""GET /metrics, under the names and labels of vLLM 0.32 (v1/metrics/loggers.py)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.kv_cache import KvCache
from bench.simulated_vllm.stats import Stats

LABELS = ["model_name", "engine"]
FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")


def render(behaviour: Behaviour, stats: Stats, cache: KvCache) -> bytes:
    registry = CollectorRegistry()
    registry.register(Snapshot(behaviour, stats, cache))
    return generate_latest(registry)


class Snapshot(Collector):
    def __init__(self, behaviour: Behaviour, stats: Stats, cache: KvCache) -> None:
        self.stats, self.cache = stats, cache
        self.labels = [behaviour.model, "0"]

    def collect(self) -> Iterator[Metric]:
        stats = self.stats
        gauges = (
            ("num_requests_running", "Number of requests in model execution batches.",
             stats.running),
            ("num_requests_waiting", "Number of requests waiting to be processed.", stats.waiting),
            ("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.",
             self.cache.use()),
        )  # fmt: skip
        for name, text, value in gauges:
            gauge = GaugeMetricFamily(f"vllm:{name}", text, labels=LABELS)
            gauge.add_metric(self.labels, value)
            yield gauge
        yield self.waiting_by_reason()
        counters = (
            ("prefix_cache_queries",
             "Prefix cache queries, in terms of number of queried tokens.",
             stats.prefix_cache_queries),
            ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.",
             stats.prefix_cache_hits),
            ("num_preemptions", "Cumulative number of preemption from the engine.",
             self.cache.preemptions),
            ("prompt_tokens", "Number of prefill tokens processed.", stats.prompt_tokens),
            ("generation_tokens", "Number of generation tokens processed.",
             stats.generation_tokens),
        )  # fmt: skip
        for name, text, total in counters:
            counter = CounterMetricFamily(f"vllm:{name}", text, labels=LABELS)
            counter.add_metric(self.labels, total)
            yield counter
        yield self.request_success()

    def waiting_by_reason(self) -> Metric:
        text = "Number of waiting requests by reason."
        gauge = GaugeMetricFamily("vllm:num_requests_waiting_by_reason", text, labels=[*LABELS, "reason"])
        gauge.add_metric([*self.labels, "capacity"], self.stats.waiting)
        gauge.add_metric([*self.labels, "deferred"], 0)
        return gauge

    def request_success(self) -> Metric:
        text = "Count of successfully processed requests."
        counter = CounterMetricFamily("vllm:request_success", text, labels=[*LABELS, "finished_reason"])
        for reason in FINISHED_REASONS:
            counter.add_metric([*self.labels, reason], self.stats.by_finish[reason])
        return counter
