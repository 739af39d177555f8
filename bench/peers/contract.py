"""What every peer's job is asked and what it prints. Standard library only: jobs run in the peers' environments."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Job:
    """One run. `out` may hold what an earlier run of the same command left there."""

    url: str
    model: str
    seeds: Path
    out: Path
    in_flight: int
    resumable: bool
    began: float = field(default_factory=time.perf_counter)

    def instructions(self) -> list[str]:
        with self.seeds.open(encoding="utf-8") as lines:
            return [json.loads(line)["instruction"] for line in lines]

    def start(self) -> None:
        """The clock starts: imports, clients and the seed file are behind us."""
        self.began = time.perf_counter()

    def finish(self, written: int) -> None:
        """Everything is on disk, where the runner counts it itself."""
        seconds = round(time.perf_counter() - self.began, 3)
        print("\n" + json.dumps({"written": written, "seconds": seconds, "finished_at": time.time()}), flush=True)


def job() -> Job:
    made = argparse.ArgumentParser()
    made.add_argument("--url", required=True, help="http://HOST:PORT, without /v1")
    made.add_argument("--model", required=True)
    made.add_argument("--seeds", type=Path, required=True, help="JSONL with an `instruction` a line")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--in-flight", type=int, required=True)
    made.add_argument("--resumable", action="store_true", help="use what the tool has for going on after a crash")
    given = Job(**vars(made.parse_args()))
    given.out.mkdir(parents=True, exist_ok=True)
    return given
