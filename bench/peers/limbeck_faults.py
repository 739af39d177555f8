"""Limbeck under the same faults: its worker process with its default settings, on real Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from app.database import Database
from bench.peers.fault_cases import IN_FLIGHT, LIMIT_S, SEEDS, FaultCase
from tests.support.processes import process, simulated_env
from tests.support.stack import Client, serving, teachers_of


async def limbeck(dsn: str, url: str, case: FaultCase) -> tuple[int, str]:
    """(accepted samples in the database, how it ended if not well)."""
    env = {
        "LIMBECK_DATABASE_URL": dsn,
        "LIMBECK_WORKER_MAX_IN_FLIGHT": str(IN_FLIGHT),
        "LIMBECK_LOG_LEVEL": "error",
        **simulated_env(url),
    }
    database = Database(dsn)
    async with serving(database, teachers_of(url)) as client:
        await client.create(case.name)
        await client.push(case.name, [{"instruction": seed} for seed in SEEDS])
        if case.kill:
            async with process("workers", **env) as worker:
                await until(client, case.name, lambda view: view["seeds"]["done"] >= len(SEEDS) // 2)
                worker.kill()
        async with process("workers", **env):
            view = await until(client, case.name, lambda view: view["state"] == "idle")
        left = len(SEEDS) - view["seeds"]["done"] - view["seeds"]["failed"]
    await database.close()
    note = f"{left} still being tried after {LIMIT_S:.0f} s" if left else ""
    return view["samples"]["accepted"], note


async def until(client: Client, name: str, true_of: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first view of which it is true, or the last one within the limit."""
    end = time.monotonic() + LIMIT_S
    while not true_of(view := await client.view(name)) and time.monotonic() < end:
        await asyncio.sleep(0.1)
    return view
