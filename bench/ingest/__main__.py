"""`make bench`: an upload through the API between two bare COPYs of the same rows; a Markdown table on stdout."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import psutil

from app.cli.children import free_port
from app.database import start_embedded
from app.migrate import upgrade
from bench.ingest.rows import write_ndjson
from bench.ingest.upload import Memory, upload
from bench.machine import ROOT, heading
from tests.support.processes import PATIENCE_S, process, simulated_env
from tests.support.stack import KEY, NDJSON

WANTED_RATIO = 0.3
WARM_ROWS = 50_000
WANTED_GROWTH_MIB = 50
MIB = 2**20


@dataclass(frozen=True)
class Result:
    """One upload. `growth` is the API's RSS in bytes from the 50,000th row on; CPU seconds over the whole upload."""

    seconds: float
    growth: int
    peak: int
    api_cpu_s: float
    postgres_cpu_s: float


def bare(dsn: str, count: int) -> float:
    command = [sys.executable, "-m", "bench.ingest.bare", dsn, str(count)]
    return float(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout)


async def limbeck(dsn: str, server: psutil.Process, file: Path, marks: list[int], count: int) -> Result:
    """Upload the file through the API, started as a user starts it; what it stored is counted in the database."""
    port = free_port()
    env = {
        "LIMBECK_DATABASE_URL": dsn,
        "LIMBECK_PORT": str(port),
        "LIMBECK_ADMIN_KEY": KEY,
        **simulated_env("http://127.0.0.1:9"),
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    async with process("app.cli.main", "api", **env) as api:
        await create(port, headers)
        connection = await asyncpg.connect(dsn)
        await connection.execute("CHECKPOINT")
        meter = psutil.Process(api.pid)
        api_before, server_before = cpu_s(meter), cpu_s(server)
        with Memory(meter) as memory:
            path = "/v1/datasets/bench/seeds"
            seconds, answer = await asyncio.to_thread(upload, port, path, {**headers, **NDJSON}, file, memory)
        assert answer == dict.fromkeys(answer, 0) | {"lines": count, "received": count, "queued": count, "rejected": []}, answer
        stored = await connection.fetchrow("SELECT (SELECT count(*) FROM seeds), (SELECT count(*) FROM leases)")
        assert tuple(stored) == (count, count), stored
        await connection.close()
        growth = memory.growth(marks[WARM_ROWS // 1000])
        peak = max(rss for _, rss in memory.samples)
        return Result(seconds, growth, peak, cpu_s(meter) - api_before, cpu_s(server) - server_before)


async def create(port: int, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as http:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    if (await http.get("/readyz")).status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        response = await http.post("/v1/datasets", json={"name": "bench", "recipe": {}})
        assert response.status_code == httpx.codes.CREATED, response.text


def cpu_s(process: psutil.Process) -> float:
    """Of the process, its children, and the children that it has waited for."""
    spent = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    waited = process.cpu_times()
    return sum(times.user + times.system for times in spent) + waited.children_user + waited.children_system


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


async def main(count: int) -> bool:
    assert count > WARM_ROWS, f"more than {WARM_ROWS} rows, or there is no memory to compare"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        marks = write_ndjson(file, count)
        data_dir = Path(folder) / "data"
        dsn = start_embedded(data_dir)
        await upgrade(dsn)
        print(
            heading(f"python -m bench.ingest --rows {count}").replace(
                "teachers are simulated and share", "client, API and Postgres share"
            )
        )
        print(f"{count} rows of {marks[-1] / count:.0f} bytes.\n")
        before = await asyncio.to_thread(bare, dsn, count)
        result = await limbeck(dsn, postmaster(data_dir), file, marks, count)
        after = await asyncio.to_thread(bare, dsn, count)
    limit = count / min(before, after)
    ratio = count / result.seconds / limit
    print(
        "| bare COPY rows/s | Limbeck rows/s | of bare | API MiB, peak | grown after 50,000 rows | API CPU s | Postgres CPU s |"
    )
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {count / before:.0f}, {count / after:.0f} | {count / result.seconds:.0f} | {ratio:.1%} | {result.peak / MIB:.0f} |"
        f" {result.growth / MIB:.0f} MiB | {result.api_cpu_s:.1f} | {result.postgres_cpu_s:.1f} |"
    )
    return ratio >= WANTED_RATIO and result.growth < WANTED_GROWTH_MIB * MIB


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m bench.ingest", description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000, help="rows of 1 KB (default: 1,000,000)")
    if not asyncio.run(main(arguments.parse_args().rows)):
        sys.exit("missed: 30 % of the bare COPY, or memory that grows by less than 50 MiB after 50,000 rows")
