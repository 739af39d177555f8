"""`python -m bench.queue [rates|sizes|drain|datasets]`: a Markdown table on stdout; ratios are of one run on one server."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import asyncpg
import uvloop

from app.database import start_embedded
from app.migrate import upgrade
from bench.machine import heading
from bench.queue import bare, growth, ours
from bench.queue.data import Answer, answers, forget, make_dataset

BATCH = 100
CONNECTIONS = 4


async def rates(dsn: str, seeds: int, rounds: int) -> None:
    """Bare SQL and our code in turn, `rounds` times over; the medians, and the best in brackets."""
    plain = answers(5000, keys=False)
    keyed = answers(seeds, keys=True, seed=1)
    bodies = [f"{each.sample.reasoning}{each.sample.response}" for each in plain]
    raws = [each.attempt.raw or b"" for each in plain]
    seen: dict[tuple[str, int], list[float]] = {}
    for turn in range(rounds):
        for connections in (1, CONNECTIONS):
            for name, stored in (("bare SQL: lease, sample, done", []), ("bare SQL: the same and the raw reply", raws)):
                rate = await bare.drain(dsn, seeds, connections, BATCH, bodies, stored)
                seen.setdefault((name, connections), []).append(rate)
            for name, given in (
                ("ours without the attempts' rows", plain),
                ("ours, `curation: []`", plain),
                ("ours, default curation (17 keys)", keyed),
            ):
                label = f"{name}-{connections}-{turn}"
                rate = await _ours(dsn, label, seeds, connections, given, attempts="without" not in name)
                seen.setdefault((name, connections), []).append(rate)
    print("| what | connections | rows/s | of bare |\n|---|---|---|---|")
    for (name, connections), values in seen.items():
        limit = statistics.median(seen["bare SQL: lease, sample, done", connections])
        print(
            f"| {name} | {connections} | {statistics.median(values):.0f} ({max(values):.0f}) | {statistics.median(values) / limit:.0%} |"
        )


async def _ours(dsn: str, label: str, seeds: int, connections: int, given: list[Answer], *, attempts: bool) -> float:
    dataset = await make_dataset(dsn, label, seeds)
    try:
        if attempts:
            return (await ours.drain(dsn, dataset, connections, BATCH, given)).both
        with ours.without_attempts():
            return (await ours.drain(dsn, dataset, connections, BATCH, given)).both
    finally:
        await forget(dsn, dataset)


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-", ignore_cleanup_errors=True) as folder:
        dsn = start_embedded(arguments.data_dir or Path(folder))
        await upgrade(dsn)
        connection = await asyncpg.connect(dsn)
        version = await connection.fetchval("SHOW server_version")
        await connection.close()
        print(
            heading(f"python -m bench.queue {arguments.what}").replace(
                "teachers are simulated and share", "Postgres and the client share"
            )
        )
        print(f"PostgreSQL {version}; {BATCH} rows a batch, samples of 1.5 KB.\n")
        if arguments.what == "rates":
            await rates(dsn, arguments.seeds or 20_000, arguments.rounds)
        elif arguments.what == "sizes":
            await growth.sizes(dsn, [int(size) for size in arguments.sizes.split(",")], CONNECTIONS, BATCH)
        elif arguments.what == "drain":
            await growth.long_drain(dsn, arguments.seeds or 1_000_000, CONNECTIONS, BATCH, old_snapshot=arguments.old_snapshot)
        else:
            await growth.many_datasets(dsn, arguments.seeds or 5000)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.queue", description=__doc__)
    parser.add_argument("what", nargs="?", default="rates", choices=["rates", "sizes", "drain", "datasets"])
    parser.add_argument("--seeds", type=int, help="how many seeds (or datasets)")
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--old-snapshot", action="store_true", help="drain while another session holds an old snapshot")
    parser.add_argument("--data-dir", type=Path, help="a folder to keep the server in; default: a new temporary one")
    uvloop.run(main(parser.parse_args()))
