"""The harness that runs other tools: their locks, what counts as a row, and that a limit and a kill hold."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest

from bench.peers import run
from bench.peers.registry import ALL, Peer
from bench.peers.run import Command, ended, finished_at, started, write_seeds
from bench.simulated_vllm import running

ROWS = [
    {"instruction": "a", "output": "one"},
    {"instruction": "a", "output": "again"},
    {"instruction": "b", "output": " "},
    {"instruction": "c", "output": None},
    {"instruction": "d", "output": "two"},
]
JOB = "from bench.peers.contract import job\nasked = job()\n"


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_lock_pins_the_peer_by_hash_and_names_no_index(peer: Peer) -> None:
    """Every requirement has a hash; the peer's own distribution is among them; no URL or option."""
    lines = peer.lock.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if "==" in line]
    assert any(line.replace("_", "-").startswith(f"{peer.distribution}==") for line in pins)
    assert all(line.rstrip().endswith("\\") for line in pins)
    assert not [line for line in lines if "://" in line or line.startswith("--")]
    assert not [line for line in pins if line.startswith(("torch==", "nvidia-"))]
    assert peer.job.exists()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow"])
def test_rows_are_distinct_instructions_with_an_answer(tmp_path: Path, suffix: str) -> None:
    """An empty answer is none, a row written twice is one, and a torn line is no row."""
    path = tmp_path / f"rows.{suffix}"
    table = pa.Table.from_pylist(ROWS)
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"instruction": "e", "out', encoding="utf-8")
    elif suffix == "parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    assert Peer("p", "p", "rows.*").written(tmp_path) == {"a", "d"}


def command(tmp_path: Path, body: str) -> Command:
    peer = Peer("p", "p", "dataset.jsonl", shelf=tmp_path)
    peer.job.parent.mkdir()
    peer.job.write_text(JOB + body, encoding="utf-8")
    made = Command(peer, Path(sys.executable), "http://127.0.0.1:1", tmp_path / "run" / "out", 4, resumable=True)
    write_seeds(made, ["a", "b"])
    return made


async def test_a_job_that_finishes_says_when(tmp_path: Path) -> None:
    """Among whatever else it prints; it sees its seeds and its settings."""
    made = command(tmp_path, "assert asked.instructions() == ['a', 'b'] and asked.resumable\nasked.finish(2)\nprint('bye')\n")
    async with started(made) as child:
        assert await ended(child, 30, made.url) == ""
    assert finished_at(made) is not None


async def test_a_job_that_fails_says_so(tmp_path: Path) -> None:
    made = command(tmp_path, "raise SystemExit(3)\n")
    async with started(made) as child:
        assert await ended(child, 30, made.url) == "ends with exit status 3"
    assert finished_at(made) is None


async def test_a_job_that_hangs_is_reported_and_leaves_no_process_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its children are killed with it."""
    monkeypatch.setattr(run, "QUIET_S", 0.1)
    child_code = (
        "import subprocess, sys, time\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    )
    made = command(tmp_path, f"{child_code}(asked.out / 'pid').write_text(str(child.pid))\ntime.sleep(600)\n")
    async with running() as simulated, started(made) as child:
        async with asyncio.timeout(30):
            while not (pid := (made.out / "pid").read_text() if (made.out / "pid").exists() else ""):
                await asyncio.sleep(0.02)
        assert await ended(child, 0.2, simulated.url) == "hangs after 0.2 s"
    async with asyncio.timeout(10):
        while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)
