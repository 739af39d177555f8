"""`python -m bench.real_vllm`: tokens/s of a real vLLM on this machine's CPU, driven by a bare loop, by Limbeck, and by the loop again.

The local teacher (`limbeck teacher`) is used: vLLM for the CPU with a model of 135 million parameters. Prompts differ from run to run, so
that none profits from the prefix cache of another; sampling is the same. Everything shares the machine's cores, vLLM included.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp
import orjson
from sqlalchemy import text

from app.cli.local import running_local_teacher
from app.database import Database, start_embedded
from app.logs import configure_logs
from app.migrate import upgrade
from app.settings import load_settings
from app.teachers.config import Teacher, Teachers
from bench.machine import heading
from tests.support.processes import process
from tests.support.stack import serving

SAMPLING = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 96}
SPAN = text("""
    SELECT count(*), sum(completion_tokens),
           extract(epoch FROM max(created_at) - min(created_at - make_interval(secs => latency_ms / 1000.0)))
    FROM attempts JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name AND outcome = 'ok'
""")


def prompts(run: str, count: int) -> list[str]:
    return [
        f"Run {run}, question {number}: tell me a short story about a town with {number} houses." for number in range(count)
    ]


async def bare(env: dict[str, str], run: str, count: int, in_flight: int) -> float:
    """Tokens/s of an aiohttp loop that keeps nothing."""
    left = iter(prompts(run, count))
    tokens = 0
    url = env["LIMBECK_TEACHER_URL"] + "/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def caller() -> None:
            nonlocal tokens
            for prompt in left:
                body = {"model": env["LIMBECK_TEACHER_MODEL"], "messages": [{"role": "user", "content": prompt}], **SAMPLING}
                async with session.post(url, json=body) as response:
                    tokens += orjson.loads(await response.read())["usage"]["completion_tokens"]

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return tokens / (time.perf_counter() - began)


async def limbeck(dsn: str, env: dict[str, str], run: str, count: int, in_flight: int) -> float:
    """Tokens/s of a worker process, from its first call to its last commit; default curation, everything stored."""
    teacher = Teacher(urls=(env["LIMBECK_TEACHER_URL"],), model=env["LIMBECK_TEACHER_MODEL"], reasoning="none")
    database = Database(dsn)
    async with serving(database, Teachers({"default": teacher})) as client:
        await client.create(run, sampling=SAMPLING, reasoning="none", max_attempts=1)
        await client.push(run, [{"instruction": prompt} for prompt in prompts(run, count)])
        settings = {"LIMBECK_DATABASE_URL": dsn, "LIMBECK_WORKER_MAX_IN_FLIGHT": str(in_flight), "LIMBECK_LOG_LEVEL": "warning"}
        async with process("workers", **{**env, **settings, "LIMBECK_TEACHER_REASONING": "none"}):
            await client.until("idle", run, patience_s=500)
        async with database.begin() as connection:
            calls, tokens, seconds = (await connection.execute(SPAN, {"name": run})).one()
    await database.close()
    assert calls == count, (calls, count)
    return float(tokens) / float(seconds)


async def main(env: dict[str, str], count: int, in_flight: int) -> None:
    print(heading("python -m bench.real_vllm").replace("teachers are simulated and share", "vLLM is real and shares"))
    with tempfile.TemporaryDirectory() as folder:
        dsn = start_embedded(Path(folder))
        await upgrade(dsn)
        await bare(env, "warm-up", in_flight, in_flight)
        rates = [await bare(env, "bare-1", count, in_flight)]
        ours = await limbeck(dsn, env, "limbeck", count, in_flight)
        rates.append(await bare(env, "bare-2", count, in_flight))
    mean = sum(rates) / len(rates)
    print("| in flight | calls a run | bare aiohttp, before and after | Limbeck | of bare |\n|---|---|---|---|---|")
    print(f"| {in_flight} | {count} | {rates[0]:.0f}, {rates[1]:.0f} tokens/s | {ours:.0f} tokens/s | {ours / mean:.1%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=320)
    parser.add_argument("--in-flight", type=int, default=64)
    arguments = parser.parse_args()
    configure_logs("warning")
    with running_local_teacher(load_settings(), wanted=True) as teacher_env:
        asyncio.run(main(teacher_env, arguments.calls, arguments.in_flight))
