"""A peer's rate in one case: `measure` is what `make bench` calls."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bench.peers.environment import NotInstalledError, installed_version, prepare
from bench.peers.registry import Peer
from bench.peers.run import Command, ended, finished_at, started, statistics, write_seeds
from bench.throughput.cases import Case, Measured
from tests.support.processes import simulated_teacher

LIMIT_S = 150.0
PROBES = 3  # requests that a job may send before its work starts: a health check, a look at the rate limits


async def measure(peer: Peer, case: Case) -> Measured:
    """The whole job on a fresh simulated teacher. A peer that cannot be installed, or does not get there, says so in its note."""
    try:
        python = await asyncio.to_thread(prepare, peer)
    except NotInstalledError as error:
        return Measured(peer.name, "-", 0, None, str(error))
    seeds = [f"Say something of number {number}." for number in range(case.seeds)]
    with tempfile.TemporaryDirectory() as folder:
        async with simulated_teacher("--latency-s", str(case.latency_s)) as url:
            command = Command(peer, python, url, Path(folder) / "out", case.in_flight)
            write_seeds(command, seeds)
            async with started(command) as child:
                note = await ended(child, LIMIT_S, url)
            stats = await statistics(url)
        written = len(peer.written(command.out) & set(seeds))
        last = finished_at(command)
    # Both are readings of this machine's clock: the teacher's of the request, the job's of its last line.
    began = stats["first_requests_at"][PROBES] if stats["requests"] > PROBES else None
    seconds = last - began if last and began else None
    if case.latency_s and not note:  # without latency the teacher answers sooner than a job can ask
        note = f"at most {stats['in_flight_peak']} in flight"
    return Measured(peer.name, installed_version(peer, python), written, seconds, note)
