"""`make bench`: a bare loop, Limbeck and its peers in turn, each on a fresh simulated teacher; Markdown on stdout."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from importlib.metadata import version
from pathlib import Path

from app.database import start_embedded
from app.migrate import upgrade
from bench.machine import heading
from bench.peers.measure import measure
from bench.peers.registry import PEERS, choose_peers
from bench.throughput.bare import bare
from bench.throughput.cases import Case, Measured, choose_cases, chosen, table
from bench.throughput.limbeck import limbeck
from tests.support.processes import simulated_teacher


async def both(dsn: str, case: Case) -> list[Measured]:
    async with simulated_teacher("--latency-s", str(case.latency_s)) as url:
        limit = await asyncio.to_thread(bare, url, case)
    async with simulated_teacher("--latency-s", str(case.latency_s)) as url:
        return [limit, await limbeck(dsn, url, case, version("limbeck"))]


async def main() -> None:
    made = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    choose_cases(made)
    choose_peers(made)
    given = made.parse_args()
    print(heading("make bench"))
    with tempfile.TemporaryDirectory() as folder:
        dsn = start_embedded(Path(folder))
        await upgrade(dsn)
        for case in chosen(given.cases):
            rows = await both(dsn, case)
            rows += [await measure(PEERS[name], case) for name in given.peers]
            print(table(case, rows, rows[0].rate), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
