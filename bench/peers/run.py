"""One peer's job as a process group of its own, with a time limit, and what is on disk afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.machine import ROOT
from bench.peers.environment import encodings
from bench.peers.registry import Peer

QUIET_S = 2.0


@dataclass(frozen=True)
class Command:
    """A job's whole command line; running it again is the same command again."""

    peer: Peer
    python: Path
    url: str
    out: Path
    in_flight: int
    resumable: bool = False

    @property
    def seeds(self) -> Path:
        return self.out.parent / "seeds.jsonl"

    @property
    def log(self) -> Path:
        return self.out.parent / "job.log"

    def arguments(self) -> list[str]:
        made = [str(self.python), str(self.peer.job), "--url", self.url, "--model", "simulated"]
        made += ["--seeds", str(self.seeds), "--out", str(self.out), "--in-flight", str(self.in_flight)]
        return [*made, "--resumable"] if self.resumable else made


def write_seeds(command: Command, instructions: Sequence[str]) -> None:
    command.out.mkdir(parents=True)
    command.seeds.write_text("".join(json.dumps({"instruction": each}) + "\n" for each in instructions), encoding="utf-8")


@asynccontextmanager
async def started(command: Command) -> AsyncIterator[asyncio.subprocess.Process]:
    """Nothing of the job's is left running on leaving: a job may have children that outlive it."""
    with command.log.open("ab") as log:
        child = await asyncio.create_subprocess_exec(
            *command.arguments(),
            cwd=command.out,
            env=environment(command.out.parent),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


def environment(home: Path) -> dict[str, str]:
    """No telemetry, no look at the net, and every cache in this run's own folder."""
    made = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TELEMETRY_ENABLED": "false",  # curator
        "NEMO_TELEMETRY_ENABLED": "false",  # data-designer
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # litellm's own limits are 1,000 connections, 500 to a host.
        "AIOHTTP_CONNECTOR_LIMIT": "4096",
        "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "4096",
    }
    if tables := encodings():
        made["TIKTOKEN_CACHE_DIR"] = str(tables)
    return made


async def ended(child: asyncio.subprocess.Process, limit_s: float, url: str) -> str:
    """How it ended otherwise than well, or nothing. One that runs on and asks nothing more hangs."""
    try:
        status = await asyncio.wait_for(child.wait(), limit_s)
    except TimeoutError:
        asked = (await statistics(url))["requests"]
        await asyncio.sleep(QUIET_S)
        hangs = asked == (await statistics(url))["requests"]
        return f"{'hangs' if hangs else 'is still asking'} after {limit_s:g} s"
    return f"ends with exit status {status}" if status else ""


async def statistics(url: str) -> dict[str, Any]:
    """What the simulated teacher has counted."""
    async with httpx.AsyncClient(trust_env=False) as http:
        found: dict[str, Any] = (await http.get(f"{url}/simulated/stats")).raise_for_status().json()
        return found


def finished_at(command: Command) -> float | None:
    """The Unix time of the job's last line, if it wrote one."""
    for line in reversed(command.log.read_text(encoding="utf-8", errors="replace").splitlines()):
        if line.startswith('{"written": '):
            return float(json.loads(line)["finished_at"])
    return None
