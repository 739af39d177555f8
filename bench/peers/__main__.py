"""`python -m bench.peers [--only NAME …] [--case …]`: the peers alone, each on a fresh simulated teacher."""

from __future__ import annotations

import argparse
import asyncio

from bench.machine import heading
from bench.peers.measure import measure
from bench.peers.registry import PEERS, choose_peers
from bench.throughput.cases import choose_cases, chosen, table


async def main() -> None:
    made = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    choose_cases(made)
    choose_peers(made)
    given = made.parse_args()
    print(heading("python -m bench.peers"))
    for case in chosen(given.cases):
        print(table(case, [await measure(PEERS[name], case) for name in given.peers]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
