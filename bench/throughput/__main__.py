"""`make bench`: Limbeck and the bare loop in turn on the same simulated teacher; a Markdown table on stdout."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from app.database import Database, start_embedded
from app.migrate import upgrade
from tests.support.processes import process, simulated_env, simulated_teacher
from tests.support.stack import serving, teachers_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """A simulated latency, calls in flight, and seeds; `ideal` answers a second where the latency sets it."""

    latency_s: float
    in_flight: int
    seeds: int

    @property
    def ideal(self) -> float | None:
        return self.in_flight / self.latency_s if self.latency_s else None


CASES = (Case(0.0, 256, 8000), Case(2.0, 256, 2560), Case(2.0, 1024, 10240))


async def limbeck(dsn: str, url: str, case: Case, name: str) -> tuple[float, int]:
    """(stored samples a second from the worker's first call to the last commit, the worker's peak RSS in MB)."""
    database = Database(dsn)
    async with serving(database, teachers_of(url)) as client:
        await client.create(name)
        await client.push(name, [{"instruction": f"Say something of number {number}."} for number in range(case.seeds)])
        env = {
            "LIMBECK_DATABASE_URL": dsn,
            "LIMBECK_WORKER_MAX_IN_FLIGHT": str(case.in_flight),
            "LIMBECK_LOG_LEVEL": "warning",
            **simulated_env(url),
        }
        peak = 0
        async with process("workers", **env) as worker:
            meter = psutil.Process(worker.pid)
            while True:
                peak = max(peak, meter.memory_info().rss)
                await asyncio.sleep(0.2)
                async with database.begin() as connection:
                    left = (
                        await connection.execute(text("SELECT count(*) FROM leases WHERE state IN ('queued', 'leased')"))
                    ).scalar_one()
                if not left:
                    break
        async with database.begin() as connection:
            # The first call began one latency before the first commit, at the latest.
            span = text(
                "SELECT count(*), extract(epoch FROM max(a.created_at) - min(a.created_at - make_interval(secs => latency_ms / 1000.0)))"
                " FROM attempts a JOIN datasets d USING (workspace_id, dataset_id) WHERE d.name = :name AND outcome = 'ok'"
            )
            count, seconds = (await connection.execute(span, {"name": name})).one()
        view = await client.view(name)
        assert view["seeds"]["done"] == case.seeds == count, view
    await database.close()
    return count / float(seconds), peak // 2**20


def bare(url: str, case: Case) -> float:
    command = [sys.executable, "-m", "bench.throughput.bare", url, str(case.seeds), str(case.in_flight)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)


def commit_of() -> str:
    git = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(git, cwd=ROOT, capture_output=True, check=False, text=True).stdout.strip()


async def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, commit {commit_of()},"
    )
    print(f"{time.strftime('%Y-%m-%d')}, `make bench`; the teacher is simulated and shares the cores.\n")
    print("| latency | in flight | ideal/s | bare aiohttp/s | Limbeck/s | of bare | of ideal | worker MB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        dsn = start_embedded(Path(folder))
        await upgrade(dsn)
        for number, case in enumerate(CASES):
            async with simulated_teacher("--latency-s", str(case.latency_s)) as url:
                limit = await asyncio.to_thread(bare, url, case)
                ours, memory = await limbeck(dsn, url, case, f"bench-{number}")
            ideal = f"{case.ideal:.0f}" if case.ideal else "-"
            share = f"{ours / case.ideal:.1%}" if case.ideal else "-"
            print(
                f"| {case.latency_s:g} s | {case.in_flight} | {ideal} | {limit:.0f} | {ours:.0f} | {ours / limit:.1%} | {share} | {memory} |",
                flush=True,
            )


if __name__ == "__main__":
    asyncio.run(main())
