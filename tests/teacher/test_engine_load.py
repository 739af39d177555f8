"""Reading vLLM's /metrics: what steers us, and nothing that is not there."""

from __future__ import annotations

import pytest

from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.kv_cache import KvCache
from bench.simulated_vllm.metrics import render
from bench.simulated_vllm.stats import Stats
from workers.teacher.engine_load import EngineLoad, read_engine_load

TWO_ENGINES = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 7.0
vllm:num_requests_running{engine="1",model_name="m"} 5.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:num_preemptions_total{engine="0",model_name="m"} 3.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1.2e+06
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 100.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 80.0
vllm:prefix_cache_hits_created{engine="0",model_name="m"} 1.7e9
"""


def test_the_engines_of_one_server_are_summed_and_the_fullest_cache_counts() -> None:
    """Data parallel ranks share one address."""
    assert read_engine_load(TWO_ENGINES) == EngineLoad(12, 1, 0.75, 3, 1_200_000, 100, 80)


def test_the_simulated_servers_page_is_read_as_vllms_is() -> None:
    """It is written by Prometheus's own client, under vLLM's names."""
    stats = Stats()
    stats.running, stats.waiting, stats.generation_tokens = 3, 2, 99
    load = read_engine_load(render(Behaviour(), stats, KvCache()).decode())
    assert load is not None
    assert (load.running, load.waiting, load.generated) == (3, 2, 99)


def test_the_older_name_of_the_cache_is_known() -> None:
    """Before vLLM 0.11."""
    page = "vllm:num_requests_running 1.0\nvllm:num_requests_waiting 0.0\nvllm:gpu_cache_usage_perc 0.5\n"
    assert read_engine_load(page) == EngineLoad(1, 0, 0.5)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<html>not found</html>",
        "http_requests_total 5\n",
        "vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n",
        "vllm:num_requests_running{ 1\nvllm:num_requests_waiting 0\n",
        "vllm:num_requests_running +Inf\nvllm:num_requests_waiting 0\n",
    ],
)
def test_a_page_that_is_no_vllms_is_nothing(page: str) -> None:
    """Never an error: the calls themselves say whether the server is there."""
    assert read_engine_load(page) is None
