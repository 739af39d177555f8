"""`python -m bench.peers.faults [--only NAME …]`: what one bad answer, one hopeless prompt and one kill -9 cost each tool.

A table a fault: rows on disk in the end of those asked, and prompts that the teacher was asked more than once.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson

from app.database import start_embedded
from app.migrate import upgrade
from bench.machine import heading
from bench.peers.environment import NotInstalledError, prepare
from bench.peers.fault_cases import CASES, IN_FLIGHT, LATENCY_S, LIMIT_S, SEEDS, FaultCase, Result, flags
from bench.peers.limbeck_faults import limbeck
from bench.peers.registry import PEERS, Peer, choose_peers
from bench.peers.run import Command, ended, started, statistics, write_seeds
from bench.simulated_vllm.answers import prompt_key
from tests.support.processes import simulated_teacher


def key(content: str | list[dict[str, str]]) -> str:
    return prompt_key(orjson.dumps([{"role": "user", "content": content}]))


# A prompt may come as a text, or as a list of one part.
KEYS = [(key(seed), key([{"type": "text", "text": seed}])) for seed in SEEDS]


async def suffer(peer: Peer, case: FaultCase) -> Result:
    """One peer's job under one fault, with what it has for going on after a crash switched on."""
    try:
        python = await asyncio.to_thread(prepare, peer)
    except NotInstalledError as error:
        return Result(peer.name, 0, 0, str(error))
    with tempfile.TemporaryDirectory() as folder:
        async with simulated_teacher(*flags(case)) as url:
            command = Command(peer, python, url, Path(folder) / "out", IN_FLIGHT, resumable=True)
            write_seeds(command, SEEDS)
            if case.kill:
                async with started(command) as child:
                    await half_way(url, child)
                # `started` has killed the whole process group with SIGKILL. The same command again:
            async with started(command) as child:
                note = await ended(child, LIMIT_S, url)
            repeated = asked_again(await statistics(url))
        written = len(peer.written(command.out) & set(SEEDS))
        if (kept := peer.kept(command.out)) > written:
            note += f"; {kept} answers are in its working files"
        return Result(peer.name, written, repeated, note)


async def suffer_ours(dsn: str, case: FaultCase) -> Result:
    """The same for Limbeck."""
    async with simulated_teacher(*flags(case)) as url:
        written, note = await limbeck(dsn, url, case)
        return Result("Limbeck", written, asked_again(await statistics(url)), note)


async def half_way(url: str, child: asyncio.subprocess.Process) -> None:
    """Until the teacher has given half of the answers."""
    async with asyncio.timeout(LIMIT_S):
        while (await statistics(url))["completed"] < len(SEEDS) // 2:
            assert child.returncode is None, "the job ended before it could be killed"
            await asyncio.sleep(0.05)


def asked_again(stats: dict[str, Any]) -> int:
    counts: dict[str, int] = stats["prompts"]
    times = [sum(counts.get(form, 0) for form in forms) for forms in KEYS]
    assert any(times), "the peer words its prompts differently: they cannot be told from its probes"
    return sum(each > 1 for each in times)


async def main() -> None:
    made = argparse.ArgumentParser(prog="python -m bench.peers.faults", description=__doc__)
    made.add_argument("--case", dest="cases", action="append", choices=list(CASES), help="repeatable; all by default")
    made.add_argument("--no-limbeck", action="store_true", help="the peers alone")
    choose_peers(made)
    given = made.parse_args()
    print(heading("python -m bench.peers.faults"))
    print(f"{len(SEEDS)} seeds, {IN_FLIGHT} in flight, {LATENCY_S:g} s latency, at most {LIMIT_S:.0f} s for a run.")
    with tempfile.TemporaryDirectory() as folder:
        dsn = start_embedded(Path(folder))
        await upgrade(dsn)
        for case in (CASES[name] for name in given.cases or CASES):
            print(f"\n{case.words}\n\n| | rows of asked | asked more than once | how it ended |\n|---|---|---|---|", flush=True)
            if not given.no_limbeck:
                print((await suffer_ours(dsn, case)).row(), flush=True)
            for name in given.peers:
                print((await suffer(PEERS[name], case)).row(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
