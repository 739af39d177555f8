"""What vLLM says of itself in `/metrics`, as far as it steers us. Pure.

Names as of vLLM 0.32 (v1/metrics/loggers.py); `gpu_cache_usage_perc` is what releases before 0.11 called the KV cache's use.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PREEMPTIONS = "vllm:num_preemptions_total"
GENERATED = "vllm:generation_tokens_total"
PREFIX_QUERIES = "vllm:prefix_cache_queries_total"
PREFIX_HITS = "vllm:prefix_cache_hits_total"
WANTED = (RUNNING, WAITING, *KV_USE, PREEMPTIONS, GENERATED, PREFIX_QUERIES, PREFIX_HITS)


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """Requests now running and waiting (everybody's, not only ours); `kv_use` from 0 to 1; the rest counts from the server's start."""

    running: int
    waiting: int
    kv_use: float = 0.0
    preemptions: int = 0
    generated: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0


def read_engine_load(exposition: str) -> EngineLoad | None:
    """The load out of a Prometheus text exposition; None if it is no vLLM's.

    Engines of one server (data parallel ranks) are summed; of the KV caches the fullest counts.
    """
    # vLLM's page is mostly histograms: the few lines that are wanted are picked out before they are parsed.
    lines = [line for line in exposition.splitlines() if line.startswith(WANTED)]
    sums: dict[str, float] = {}
    kv_use = 0.0
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                if sample.name in KV_USE:
                    kv_use = max(kv_use, sample.value)
                else:
                    sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        if RUNNING not in sums or WAITING not in sums:
            return None
        return EngineLoad(
            running=int(sums[RUNNING]),
            waiting=int(sums[WAITING]),
            kv_use=kv_use,
            preemptions=int(sums.get(PREEMPTIONS, 0)),
            generated=int(sums.get(GENERATED, 0)),
            prefix_queries=int(sums.get(PREFIX_QUERIES, 0)),
            prefix_hits=int(sums.get(PREFIX_HITS, 0)),
        )
    except (ValueError, OverflowError):  # not the text format, NaN, infinity
        return None
