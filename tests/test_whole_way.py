"""The whole way in real processes, over real HTTP, against a simulated vLLM; and a worker that is killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.processes import api_process, process, simulated_env, simulated_teacher, worker_env
from tests.support.stack import NDJSON

SEED_TASKS = Path(__file__).parents[2] / "shared" / "data" / "seed_tasks.jsonl"


async def test_a_worker_killed_halfway_loses_nothing_and_accepts_nothing_twice(dsn: str) -> None:
    """Kill -9 with calls in flight; the next worker rescues its seeds; accepted once a seed; the funnel adds up throughout."""
    count = 300
    async with simulated_teacher("--latency-s", "0.2") as url, api_process(dsn, simulated_env(url)) as client:
        await client.create()
        await client.push("d", [{"instruction": f"seed {number}"} for number in range(count)])
        async with process("workers", **worker_env(dsn, simulated_env(url))) as first:
            async with asyncio.timeout(30):
                while (await client.view())["seeds"]["done"] < count // 3:
                    await asyncio.sleep(0.05)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        halfway = await client.view()
        assert halfway["seeds"]["leased"] > 0
        assert halfway["seeds"]["done"] < count
        async with process("workers", **worker_env(dsn, simulated_env(url))):
            view = await client.until("idle")
        lines = await client.export()
    assert view["seeds"]["done"] == view["samples"]["accepted"] == len(lines) == count
    assert len({line["meta"]["seed_id"] for line in lines}) == count


async def test_sigterm_drains_and_leaves_nothing_leased(dsn: str) -> None:
    """The process ends with status 0; what was in flight is stored."""
    async with simulated_teacher("--latency-s", "0.3") as url, api_process(dsn, simulated_env(url)) as client:
        await client.create()
        await client.push("d", [{"instruction": f"seed {number}"} for number in range(200)])
        async with process("workers", **worker_env(dsn, simulated_env(url))) as worker:
            async with asyncio.timeout(30):
                while (await client.view())["seeds"]["done"] == 0:
                    await asyncio.sleep(0.05)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), 30) == 0
        view = await client.view()
    assert view["seeds"]["leased"] == 0
    assert 0 < view["seeds"]["done"] < 200


@pytest.mark.skipif(not SEED_TASKS.exists(), reason="needs shared/data/seed_tasks.jsonl beside the project")
async def test_self_instructs_seed_tasks_go_through_and_load_as_a_dataset(dsn: str, tmp_path: Path) -> None:
    """Seeds total = seeds read less duplicates; every exported line loads with `datasets.load_dataset`."""
    raw = SEED_TASKS.read_bytes()
    tasks = [orjson.loads(line) for line in raw.splitlines()]
    prompts = [(task["instruction"].strip(), instance["input"].strip()) for task in tasks for instance in task["instances"]]
    async with simulated_teacher() as url, api_process(dsn, simulated_env(url)) as client:
        await client.create()
        response = await client.http.post("/v1/datasets/d/seeds", content=raw, headers=NDJSON)
        answer = response.json()
        assert (answer["lines"], answer["received"], answer["rejected_total"]) == (175, len(prompts), 0)
        assert answer["queued"] == len(set(prompts))
        async with process("workers", **worker_env(dsn, simulated_env(url))):
            view = await client.until("idle")
        assert view["seeds"]["total"] == view["seeds"]["done"] == len(prompts) - answer["duplicates"]
        exported = await client.http.get("/v1/datasets/d/export")
    path = tmp_path / "out.jsonl"
    path.write_bytes(exported.content)
    assert _load(path, tmp_path) == view["samples"]["accepted"] == view["seeds"]["total"]


def _load(path: Path, cache: Path) -> int:
    """How many rows a trainer's loader reads, all with Alpaca's columns."""
    datasets: Any = pytest.importorskip("datasets")
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache / "cache"))
    assert {"instruction", "input", "output", "reasoning", "meta"} == set(rows.column_names)
    assert all(row["instruction"] and row["output"] for row in rows)
    return len(rows)
