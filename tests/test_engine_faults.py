"""What a second review found: each is a way in which the engine once lost count, starved, or held on too long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from app.database import Database
from app.queue.repository import QueueRepository
from app.queue.states import LeaseUpdate
from app.teachers.config import Teacher
from bench.simulated_vllm import Behaviour, Fault, FaultKind, running
from tests.support.stack import Client, serving, teachers_of, working
from tests.teacher.clock import Clock
from tests.test_queue import beat, claim
from tests.test_store import completion, leased
from workers import retry
from workers.stages.store import Store
from workers.teacher.breaker import Breaker
from workers.teacher.climb import Climb
from workers.teacher.errors import BadReply, ServerFailed, Unauthorized, Unavailable
from workers.teacher.pool import TeacherPool
from workers.teacher.replica import Replica
from workers.teacher.types import ChatRequest, Reply

SEEDS = [{"instruction": f"Say something of number {number}."} for number in range(60)]
REQUEST = ChatRequest(messages=({"role": "user", "content": "Say something."},), parameters={})


async def test_a_cancel_that_waits_for_a_store_cancels_what_that_store_wrote(client: Client, database: Database) -> None:
    """Seeds that go back into the queue while the cancel waits for their rows are cancelled too."""
    keys = await leased(client, database, 10)
    async with database.begin() as connection:
        updates = {key: LeaseUpdate("queued" if n % 2 else None, (0,)) for n, key in enumerate(keys)}
        await QueueRepository(connection).settle(updates)
        cancelling = asyncio.create_task(client.http.post("/v1/datasets/d/cancel"))
        async with asyncio.timeout(10), database.begin() as other:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            while not (await other.execute(waiting)).scalar_one():
                await asyncio.sleep(0.02)
    assert (await cancelling).json()["seeds"]["cancelled"] == 10


async def test_samples_that_are_accepted_are_not_asked_for_again(client: Client, database: Database) -> None:
    """Three a seed, one of them accepted; one a seed is asked for, then three again: two are open."""
    await client.create(samples_per_seed=3)
    await client.push("d", SEEDS[:1])
    [seed] = await claim(database, await beat(database))
    await Store(database, capacity=10).write([completion(seed.key, sample_index=1, lease=LeaseUpdate("queued", (0, 2)))])
    for samples in (1, 3):
        await client.http.put("/v1/datasets/d/recipe", json={"samples_per_seed": samples})
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT open_samples FROM leases"))).scalar_one() == [0, 2]


async def test_a_seed_that_comes_back_untouched_follows_the_new_recipe(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was leased under one sample a seed, failed in passing, and is done under three."""
    monkeypatch.setattr(retry, "backoff_s", lambda _setbacks: 0.0)
    async with running(Behaviour(latency_s=0.5, faults=(Fault(FaultKind.HTTP_500, first_n=4),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create(sampling={"seed": 1})
            await client.push("d", SEEDS[:4])
            async with asyncio.timeout(10):
                while (await client.view())["seeds"]["leased"] < 4:
                    await asyncio.sleep(0.01)
            await client.http.put("/v1/datasets/d/recipe", json={"samples_per_seed": 3, "sampling": {"seed": 1}})
            view = await client.until("idle")
    assert view["samples"]["accepted"] == 12


async def test_changes_at_the_same_moment_wait_for_each_other(client: Client) -> None:
    """Every one is answered 200, and the last revision counts them."""
    await client.create()
    changes = [client.http.put("/v1/datasets/d/recipe", json={"max_attempts": number}) for number in range(4, 12)]
    changes += [client.http.patch("/v1/datasets/d", json={"weight": number}) for number in range(1, 9)]
    answers = await asyncio.gather(*changes)
    assert [answer.status_code for answer in answers] == [200] * 16
    assert (await client.view())["recipe_revision"] == 9


async def test_a_small_target_is_met_beside_a_flood(database: Database) -> None:
    """What the flood has not yet stored does not count against the other's limit."""
    async with running(Behaviour(latency_s=0.05)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=64):
            await client.create("flood")
            await client.push("flood", [{"instruction": f"flood {number}"} for number in range(3000)])
            async with asyncio.timeout(20):
                while simulated.stats.completed < 200:
                    await asyncio.sleep(0.01)
            await client.http.post("/v1/datasets", json={"name": "d", "target_accepted": 5})
            await client.push("d", SEEDS)
            view = await client.until("paused", patience_s=10)
            assert (await client.view("flood"))["state"] == "running"
    assert view["samples"]["accepted"] == 5


async def test_a_dataset_pauses_while_claims_and_uploads_go_on(client: Client, database: Database) -> None:
    """Claims that follow each other without a gap do not keep a pause waiting."""
    await client.create()
    await client.push("d", [{"instruction": f"seed {number}"} for number in range(3000)])
    worker_id = await beat(database)
    stop = asyncio.Event()

    async def claim_on() -> None:
        while not stop.is_set():
            async with database.begin() as connection:
                for dataset in await QueueRepository(connection).runnable():
                    await QueueRepository(connection).claim(dataset, worker_id, 1)
                await asyncio.sleep(0.03)

    claimers = [asyncio.create_task(claim_on()) for _ in range(6)]
    await asyncio.sleep(0.2)
    try:
        async with asyncio.timeout(2):
            assert (await client.http.post("/v1/datasets/d/pause")).status_code == 200
    finally:
        stop.set()
        await asyncio.gather(*claimers)


async def test_after_an_outage_that_answers_503_the_level_is_what_it_was() -> None:
    """A server that answers nobody is away, not overloaded."""
    async with running(Behaviour(faults=(Fault(FaultKind.HTTP_503),))) as simulated:
        teacher = Teacher(urls=(simulated.url,), model="simulated", start_in_flight=100)
        async with TeacherPool(teacher, 200) as pool:
            calls = [asyncio.create_task(pool.generate(REQUEST)) for _ in range(50)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            simulated.behaviour = Behaviour()
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.wait_for(pool.generate(REQUEST), 10)  # the probe
            assert not pool.troubled
            assert pool.level >= 100


async def test_a_call_that_a_proxy_gives_up_on_while_others_are_answered_may_be_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """504 after a minute in which the replica answered others is a setback of that seed; else the replica is left alone."""
    clock = Clock()
    replica = replica_of(clock)

    async def give_up(_request: ChatRequest) -> Reply:
        clock.now += 60.0
        raise Unavailable("HTTP 504: upstream request timeout")

    monkeypatch.setattr(replica.client, "generate", give_up)
    began = replica.enter()
    replica._answered_at = 30.0
    with pytest.raises(ServerFailed, match="504"):
        await replica.generate(REQUEST, began)
    assert not replica.breaker.troubled
    with pytest.raises(Unavailable):
        await replica.generate(REQUEST, replica.enter())
    assert replica.breaker.troubled


def replica_of(clock: Clock) -> Replica:
    def ignore() -> None: ...

    teacher = Teacher(urls=("http://127.0.0.1:9",), model="m")
    return Replica(teacher, teacher.urls[0], clock, most=8, left=ignore, moved=ignore)


async def test_a_pools_faults_hold_neither_nul_nor_a_replys_text() -> None:
    """They are written into a heartbeat (jsonb holds no NUL) and shown to every tenant."""
    clock = Clock()
    replica = replica_of(clock)
    clock.now = 1.0
    replica._tell(Unauthorized("no such key \0 here"), 0.5)
    assert replica.status()["fault"] == "unauthorized: no such key \ufffd here"
    for number in range(30):
        clock.now += 1
        replica._tell(BadReply("it begins 'the private answer'"), clock.now + number)
    assert "private" not in replica.status()["fault"]


def test_a_server_that_is_seen_alive_ends_the_half_open_state_unless_a_hand_is_needed() -> None:
    """A probe may take minutes; a wrong key stays wrong."""
    for needs_mending in (False, True):
        clock = Clock()
        breaker = Breaker(clock)
        clock.now = 1.0
        breaker.failed(1.0, "x", needs_mending=needs_mending)
        clock.now = 10.0
        breaker.began(10.0)
        breaker.seen_alive(after_s=2.0)
        assert breaker.troubled
        clock.now = 13.0
        breaker.seen_alive(after_s=2.0)
        assert breaker.troubled == needs_mending


def test_a_climb_does_not_go_beyond_what_its_worker_may_hold() -> None:
    """Else it would credit a level that was never tried."""
    climb = Climb(8, 32)
    for window in range(2000):
        climb.answered(float(window), window + 1.0, 10, lambda: True)
        assert climb._trial <= 32


async def test_a_connection_whose_begin_was_cancelled_is_not_used_again(dsn: str) -> None:
    """The next transaction begins anew."""
    database = Database(dsn, pool_size=1, lookups=True)
    try:
        async with database.begin() as connection:
            first = await backend(connection)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(5)"))
        async with database.begin() as connection:
            assert await backend(connection) != first
            fresh = text("SELECT now() > clock_timestamp() - interval '1 second'")
            assert (await connection.execute(fresh)).scalar_one()
    finally:
        await database.close()


async def backend(connection: Any) -> int:
    return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def test_numbers_are_numbers_and_null_takes_a_budget_away(client: Client) -> None:
    """`true` is no target; `budget: null` is no budget."""
    await client.create()
    for bad in (True, "7", 1.5):
        assert (await client.http.patch("/v1/datasets/d", json={"target_accepted": bad})).status_code == 422
    await client.http.patch("/v1/datasets/d", json={"budget": {"attempts": 5}})
    view = (await client.http.patch("/v1/datasets/d", json={"budget": None})).json()
    assert view["budget"] == {"attempts": None, "tokens": None, "wall_s": None}


async def test_a_drain_asks_nothing_more_of_the_teacher(database: Database) -> None:
    """What waits for its turn goes back into the queue; what is in flight is stored."""
    async with running(Behaviour(latency_s=0.5)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client:
            await client.create()
            await client.push("d", SEEDS)
            async with working(database, teachers, max_in_flight=8):
                async with asyncio.timeout(10):
                    while (await client.view())["seeds"]["leased"] < 12 or simulated.stats.in_flight < 8:
                        await asyncio.sleep(0.01)
            view = await client.view()
    assert simulated.stats.requests == view["seeds"]["done"] == 8
    assert view["seeds"]["queued"] == len(SEEDS) - 8
