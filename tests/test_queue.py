"""The queue on real Postgres: claims on separate connections, fences, rescue."""

from __future__ import annotations

import asyncio
import uuid

from sqlalchemy import text

from app.database import Database
from app.queue.repository import QueueRepository, RunnableDataset
from app.queue.states import MAX_SETBACKS, LeasedSeed, LeaseUpdate
from tests.support.stack import Client


async def beat(database: Database, *, ago_s: float = 0, lease_s: float = 30) -> uuid.UUID:
    """A worker that beat that long ago, by the database's clock."""
    worker_id = uuid.uuid4()
    async with database.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO workers (worker_id, name, lease_s, beat_at) VALUES (:id, 'test', :lease, now() - make_interval(secs => :ago))"
            ),
            {"id": worker_id, "lease": lease_s, "ago": ago_s},
        )
    return worker_id


async def claim(database: Database, worker_id: uuid.UUID, size: int = 10) -> list[LeasedSeed]:
    async with database.begin() as connection:
        datasets = await QueueRepository(connection).runnable()
    if not datasets:
        return []
    async with database.begin() as connection:
        return await QueueRepository(connection).claim(datasets[0], worker_id, size)


async def update(database: Database, seed: LeasedSeed, change: LeaseUpdate) -> int:
    async with database.begin() as connection:
        return await QueueRepository(connection).update({seed.key: change})


async def rescue(database: Database) -> tuple[int, int]:
    async with database.begin() as connection:
        return await QueueRepository(connection).rescue()


async def test_many_claimers_never_lease_a_seed_twice(client: Client, database: Database) -> None:
    """Eight connections, 2,000 seeds, batches of 17: each seed exactly once."""
    await client.create()
    await client.push("d", [{"instruction": f"seed {number}"} for number in range(2000)])
    dataset = RunnableDataset(1, (await _dataset_id(database)), 1, "default")

    async def worker() -> list[int]:
        worker_id = await beat(database)
        mine: list[int] = []
        while True:
            async with database.begin() as connection:
                leased = await QueueRepository(connection).claim(dataset, worker_id, 17)
            if not leased:
                return mine
            mine += [seed.key.seed_id for seed in leased]

    claimed = [seed_id for mine in await asyncio.gather(*(worker() for _ in range(8))) for seed_id in mine]
    assert len(claimed) == len(set(claimed)) == 2000


async def test_a_fresh_token_fences_the_earlier_holder(client: Client, database: Database) -> None:
    """After a rescue, the first worker's completing write changes nothing that the second owns."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    [first] = await claim(database, await beat(database, ago_s=100))
    assert await rescue(database) == (1, 0)
    [second] = await claim(database, await beat(database))
    assert second.key.token != first.key.token
    assert await update(database, first, LeaseUpdate("done", ())) == 0
    assert (await client.view())["seeds"]["leased"] == 1
    assert await update(database, second, LeaseUpdate("done", ())) == 1
    assert (await client.view())["seeds"]["done"] == 1


async def test_rescue_leaves_living_workers_alone(client: Client, database: Database) -> None:
    """A worker within its own lease time keeps its seeds, whatever others' lease time is."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    await claim(database, await beat(database, ago_s=50, lease_s=60))
    assert await rescue(database) == (0, 0)
    assert (await client.view())["seeds"]["leased"] == 1


async def test_a_seed_whose_workers_keep_dying_is_failed(client: Client, database: Database) -> None:
    """After MAX_SETBACKS lost workers in a row it is taken to be the cause, and says so."""
    await client.create()
    await client.push("d", [{"instruction": "poison"}])
    for round_ in range(MAX_SETBACKS):
        await claim(database, await beat(database, ago_s=100))
        assert await rescue(database) == ((0, 1) if round_ == MAX_SETBACKS - 1 else (1, 0))
    view = await client.view()
    assert view["seeds"]["failed"] == 1
    assert view["failures"][0]["error_class"] == "worker_lost"


async def test_backoff_is_the_databases_clock(client: Client, database: Database) -> None:
    """A seed queued with a delay is not claimed before it is due, and others overtake it."""
    await client.create()
    await client.push("d", [{"instruction": "a"}, {"instruction": "b"}])
    worker_id = await beat(database)
    first, _ = await claim(database, worker_id, 2)
    await update(database, first, LeaseUpdate("queued", (0,), delay_s=60, charged=False, setback=True))
    assert await claim(database, worker_id) == []
    async with database.begin() as connection:
        await connection.execute(text("UPDATE leases SET not_before = now() WHERE state = 'queued'"))
    [again] = await claim(database, worker_id)
    assert (again.tries, again.setbacks, again.open_samples) == (1, 1, (0,))


async def test_a_paused_dataset_is_not_claimed(client: Client, database: Database) -> None:
    """Even by a worker that had seen it running a moment before."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    async with database.begin() as connection:
        [seen] = await QueueRepository(connection).runnable()
    await client.http.post("/v1/datasets/d/pause")
    async with database.begin() as connection:
        assert await QueueRepository(connection).claim(seen, await beat(database), 5) == []
        assert await QueueRepository(connection).runnable() == []


async def test_cancel_takes_leased_seeds_from_their_workers(client: Client, database: Database) -> None:
    """The late completing write is fenced."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    [seed] = await claim(database, await beat(database))
    await client.http.post("/v1/datasets/d/cancel")
    assert await update(database, seed, LeaseUpdate("done", ())) == 0
    assert (await client.view())["seeds"]["cancelled"] == 1


async def test_requeue_takes_one_error_class_or_all(client: Client, database: Database) -> None:
    """With a clean slate: no tries, no setbacks."""
    await client.create()
    await client.push("d", [{"instruction": "a"}, {"instruction": "b"}])
    for seed, error_class in zip(await claim(database, await beat(database)), ("timeout", "bad_request"), strict=True):
        await update(database, seed, LeaseUpdate("failed", (0,), error_class=error_class, error_text="words"))
    response = await client.http.post("/v1/datasets/d/requeue", json={"error_class": "timeout"})
    assert response.json() == {"requeued": 1}
    assert (await client.view())["seeds"]["failed"] == 1
    assert (await client.http.post("/v1/datasets/d/requeue")).json() == {"requeued": 1}
    assert {seed.tries for seed in await claim(database, await beat(database))} == {1}


async def _dataset_id(database: Database) -> int:
    async with database.begin() as connection:
        return int((await connection.execute(text("SELECT dataset_id FROM datasets"))).scalar_one())
