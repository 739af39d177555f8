"""Real processes: the API, workers, a simulated teacher, each started as a user starts it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson

from app.cli.children import free_port
from tests.support.stack import KEY, Client

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@asynccontextmanager
async def process(*arguments: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m …`; SIGTERM at the end, and it must end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=ROOT, env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.communicate(), PATIENCE_S)


@asynccontextmanager
async def simulated_teacher(*flags: str) -> AsyncIterator[str]:
    """The URL of a simulated vLLM in a process of its own."""
    async with process("bench.simulated_vllm", "--port", "0", *flags) as child:
        assert child.stdout is not None
        yield orjson.loads(await asyncio.wait_for(child.stdout.readline(), PATIENCE_S))["url"]


@asynccontextmanager
async def api_process(dsn: str, teacher: dict[str, str]) -> AsyncIterator[Client]:
    """The API on a free port, over real HTTP."""
    port = free_port()
    env = {"LIMBECK_DATABASE_URL": dsn, "LIMBECK_PORT": str(port), "LIMBECK_ADMIN_KEY": KEY, **teacher}
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        process("app.cli.main", "api", **env) as child,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False) as http,
    ):
        async with asyncio.timeout(PATIENCE_S):
            while not await _ready(http):
                assert child.returncode is None, "the API ended"
                await asyncio.sleep(0.1)
        yield Client(http)


async def _ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def worker_env(dsn: str, teacher: dict[str, str], **more: str) -> dict[str, str]:
    """A worker's settings, with leases short enough for a test."""
    return {
        "LIMBECK_DATABASE_URL": dsn,
        "LIMBECK_LEASE_S": "3",
        "LIMBECK_HEARTBEAT_S": "0.5",
        "LIMBECK_WORKER_MAX_IN_FLIGHT": "32",
        **teacher,
        **more,
    }


def simulated_env(url: str) -> dict[str, str]:
    return {"LIMBECK_TEACHER_URL": url, "LIMBECK_TEACHER_MODEL": "simulated"}
