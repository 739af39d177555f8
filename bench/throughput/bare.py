"""The limit: an aiohttp loop that posts the same prompts, reads the answers and keeps nothing. Prints the seconds it took."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import aiohttp
import orjson
import uvloop

from bench.machine import ROOT
from bench.throughput.cases import Case, Measured


def bare(url: str, case: Case) -> Measured:
    """In a process of its own, as the others are."""
    command = [sys.executable, "-m", "bench.throughput.bare", url, str(case.seeds), str(case.in_flight)]
    seconds = float(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)
    return Measured("bare aiohttp", aiohttp.__version__, case.seeds, seconds, "stores nothing")


async def run(url: str, count: int, in_flight: int) -> float:
    left = iter(range(count))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def caller() -> None:
            for number in left:
                messages = [{"role": "user", "content": f"Say something of number {number}."}]
                body = orjson.dumps({"model": "simulated", "messages": messages})
                async with session.post(f"{url}/v1/chat/completions", data=body) as response:
                    assert orjson.loads(await response.read())["choices"], response.status

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return time.perf_counter() - began


if __name__ == "__main__":
    print(uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
