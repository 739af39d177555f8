"""The peers: which distribution each is, and where its rows lie on disk."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet


@dataclass(frozen=True)
class Peer:
    """`rows`: the files of its finished dataset, below a job's `--out`; `answer`: the column with the text.

    `working`: the files, and the field, that it keeps answers in while it works and may go on from.
    """

    name: str
    distribution: str
    rows: str
    answer: str = "output"
    working: tuple[str, str] | None = None
    shelf: Path = Path(__file__).parent

    @property
    def job(self) -> Path:
        return self.shelf / self.name / "job.py"

    @property
    def lock(self) -> Path:
        return self.shelf / self.name / "requirements.txt"

    def written(self, out: Path) -> set[str]:
        """The instructions that have an answer on disk, whatever the job says of itself."""
        rows = (row for path in out.glob(self.rows) for row in read(path))
        return {row["instruction"] for row in rows if isinstance(row[self.answer], str) and row[self.answer].strip()}

    def kept(self, out: Path) -> int:
        """Answers in the working files."""
        if self.working is None:
            return 0
        pattern, field = self.working
        return sum(bool(row.get(field)) for path in out.glob(pattern) for row in read(path))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of JSONL, Parquet or an Arrow stream; a torn line is no row."""
    match path.suffix:
        case ".jsonl":
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):
                    yield json.loads(line)
        case ".parquet":
            yield from pyarrow.parquet.read_table(path).to_pylist()
        case _:
            with pa.ipc.open_stream(path) as stream:
                yield from stream.read_all().to_pylist()


ALL = (
    Peer("sdg_hub", "sdg-hub", "dataset.jsonl", "take_content", ("checkpoints/checkpoint_*.jsonl", "take_content")),
    Peer("openai_script", "openai", "dataset.jsonl"),
    Peer(
        "curator",
        "bespokelabs-curator",
        "dataset/*/????????????????.arrow",
        working=("dataset/*/responses_*.jsonl", "response_message"),
    ),
    Peer("data_designer", "data-designer", "dataset/parquet-files/*.parquet"),
    Peer("distilabel", "distilabel", "dataset/default/train/*.arrow", "generation"),
)
PEERS = {peer.name: peer for peer in ALL}


def choose_peers(made: argparse.ArgumentParser) -> None:
    names = ", ".join(PEERS)
    made.add_argument("--only", dest="peers", nargs="*", choices=list(PEERS), default=list(PEERS), metavar="NAME", help=names)
