"""The limit: one COPY of the same rows into a table like `seeds`. Prints the seconds from its start to its commit.

The table has the columns, defaults, identity, CHECKs, primary key and unique index of `seeds` (LIKE … INCLUDING ALL; no
foreign keys, no leases). The records, hashes included, stand in memory before the clock starts; asyncpg sends them as
binary COPY while Postgres stores them, so that both cores work.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time

import asyncpg
import orjson

from bench.ingest.rows import rows

COLUMNS = (
    "workspace_id",
    "dataset_id",
    "content_hash",
    "instruction",
    "input",
    "reference",
    "metadata",
    "upload_id",
    "upload_line",
)


def records(count: int) -> list[tuple[object, ...]]:
    return [
        (
            1,
            1,
            hashlib.sha256(f"{row['instruction']}\0{row['input']}".encode()).digest()[:16],
            row["instruction"],
            row["input"],
            row["output"],
            orjson.dumps({"topic": row["topic"]}).decode(),
            1,
            line,
        )
        for line, row in enumerate(rows(count), start=1)
    ]


async def run(dsn: str, count: int) -> float:
    ready = records(count)
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE bare_seeds (LIKE seeds INCLUDING ALL)")
    await connection.execute("CHECKPOINT")
    began = time.perf_counter()
    status = await connection.copy_records_to_table("bare_seeds", records=ready, columns=COLUMNS)
    seconds = time.perf_counter() - began
    assert status == f"COPY {count}", status
    await connection.execute("DROP TABLE bare_seeds")
    await connection.close()
    return seconds


if __name__ == "__main__":
    print(asyncio.run(run(sys.argv[1], int(sys.argv[2]))))
