"""What a review found: each is a way in which a worker once lost, kept or starved seeds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.database import Database
from app.queue.repository import QueueRepository
from app.queue.states import LeaseUpdate
from app.teachers.config import Teacher, Teachers
from bench.simulated_vllm import Behaviour, Fault, FaultKind, running
from tests.support.stack import Client, serving, teachers_of, working
from tests.test_queue import beat, claim
from tests.test_store import completion, leased
from workers import retry
from workers.stages.store import Store

SEEDS = [{"instruction": f"Say something of number {number}."} for number in range(40)]


async def test_a_claim_whose_acknowledgement_was_lost_is_given_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker does not hold those seeds, finds that out, and works on them all the same."""
    claimed = QueueRepository.claim
    losses = iter([True])

    async def lossy(self: QueueRepository, *arguments: Any) -> Any:
        result = await claimed(self, *arguments)
        if next(losses, False):
            await self._connection.commit()
            raise OperationalError("COMMIT", {}, ConnectionError("lost"))
        return result

    monkeypatch.setattr(QueueRepository, "claim", lossy)
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, lease_s=3.0, heartbeat_s=0.5):
            await client.create()
            await client.push("d", SEEDS)
            view = await client.until("idle")
    assert view["samples"]["accepted"] == len(SEEDS)


async def test_a_server_that_speaks_no_http_is_an_attempt_with_words(database: Database) -> None:
    """No seed is left leased to nobody, and the dataset says what is wrong."""

    async def banner(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    teachers = teachers_of(f"http://127.0.0.1:{port}")
    async with serving(database, teachers) as client, working(database, teachers):
        await client.create()
        await client.push("d", SEEDS[:8])
        async with asyncio.timeout(20):
            while not (view := await client.view())["warnings"]:
                await asyncio.sleep(0.05)
    server.close()
    assert "bad_reply" in view["warnings"][0]


async def test_storing_one_of_several_samples_twice_stores_it_once(client: Client, database: Database) -> None:
    """A lost acknowledgement in the middle of a lease: no second sample, no failed seed, the funnel adds up."""
    [key] = await leased(client, database, 1)
    middle = completion(key, lease=LeaseUpdate(None, (1, 2)))
    store = Store(database, capacity=10)
    for _ in range(2):
        await store.write([middle])
    view = await client.view()
    assert (view["samples"]["accepted"], view["samples"]["rejected"], view["seeds"]["leased"]) == (1, 0, 1)
    await store.write([completion(key, "Another answer altogether.", sample_index=1)])
    assert (await client.view())["seeds"]["done"] == 1


async def test_samples_that_are_still_out_leave_the_setbacks_alone(client: Client, database: Database) -> None:
    """Else a seed with two samples would fail and be tried for ever."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    worker_id = await beat(database)
    for setbacks in range(3):
        [seed] = await claim(database, worker_id)
        assert seed.setbacks == setbacks
        async with database.begin() as connection:
            queue = QueueRepository(connection)
            await queue.update({seed.key: LeaseUpdate(None, (0, 1))})
            await queue.update({seed.key: LeaseUpdate("queued", (0, 1), charged=False, setback=True)})


async def test_a_seed_of_several_samples_that_always_fails_is_failed_in_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two samples a seed, every call a 500: ten setbacks, then failed."""
    monkeypatch.setattr(retry, "backoff_s", lambda _setbacks: 0.0)
    async with running(Behaviour(latency_s=0.01, faults=(Fault(FaultKind.HTTP_500, match="number 3."),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create(samples_per_seed=2)
            await client.push("d", SEEDS[:6])
            view = await client.until("idle")
    assert (view["seeds"]["failed"], view["seeds"]["done"]) == (1, 5)
    assert view["attempts"]["by_error"] == {"server_error": 20}


async def test_a_recovered_teacher_is_tried_while_another_is_busy(database: Database) -> None:
    """Each teacher has its own gate; a busy one does not keep the other from being tried again."""
    async with (
        running(Behaviour(latency_s=0.2)) as busy,
        running(Behaviour(faults=(Fault(FaultKind.HTTP_503, first_n=3),))) as ill,
    ):
        teachers = Teachers(
            {name: Teacher(name=name, urls=(each.url,), model="simulated") for name, each in (("busy", busy), ("ill", ill))}
        )
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=4):
            await client.create("long", teacher="busy")
            await client.create("d", teacher="ill")
            await client.push("long", [{"instruction": f"x {number}"} for number in range(400)])
            await client.push("d", SEEDS[:10])
            await client.until("idle", "d")
            assert (await client.view("long"))["state"] == "running"


async def test_a_teacher_that_takes_eight_at_a_time_is_given_about_eight(database: Database) -> None:
    """429 for the rest: the level comes down, and few calls are wasted."""
    limit = 8
    active = peak = refused = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal active, peak, refused
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(
                next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            )
            await reader.readexactly(length)
            active += 1
            peak = max(peak, active)
            if active > limit:
                refused += 1
                body, status = b'{"error": {"message": "too many"}}', b"429 Too Many Requests"
            else:
                await asyncio.sleep(0.05)
                text = str(time.perf_counter_ns() * 7919)
                body = b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}' % text.encode()
                status = b"200 OK"
            active -= 1
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body
            )
            await writer.drain()

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(quiet, "127.0.0.1", 0)
    teachers = teachers_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", reasoning="none")
    async with serving(database, teachers) as client, working(database, teachers, max_in_flight=64):
        await client.create()
        await client.push("d", [{"instruction": f"seed {number}"} for number in range(300)])
        view = await client.until("idle")
    server.close()
    assert view["seeds"]["done"] == 300
    assert refused <= 100


async def test_requeue_leaves_a_cancelled_dataset_alone(client: Client, database: Database) -> None:
    """Also when the cancel comes between the look and the update."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    [seed] = await claim(database, await beat(database))
    async with database.begin() as connection:
        await QueueRepository(connection).update({seed.key: LeaseUpdate("failed", (0,), error_class="x", error_text="y")})
    await client.http.post("/v1/datasets/d/cancel")
    async with database.begin() as connection:
        assert await QueueRepository(connection).requeue(1, seed.key.dataset_id, None) == 0


@pytest.fixture
def unmigrated(server_dsn: str) -> Database:
    """The server's own database, which nobody migrated."""
    return Database(server_dsn)


async def test_a_worker_that_cannot_beat_stops_when_told(unmigrated: Database) -> None:
    """On a database that is not migrated it waits, and SIGTERM's event ends it."""
    async with asyncio.timeout(15), working(unmigrated, teachers_of("http://127.0.0.1:9")):
        await asyncio.sleep(0.5)
    await unmigrated.close()


async def test_a_big_dataset_is_deleted_in_short_steps(client: Client, database: Database) -> None:
    """3,000 samples with 17 keys each go within seconds."""
    keys = await leased(client, database, 3000)
    store = Store(database, capacity=10)
    words = [f"word{number}" for number in range(4000)]
    for start in range(0, 3000, 100):
        batch = [
            completion(key, " ".join(words[n : n + 30]) + f" {n * n}") for n, key in enumerate(keys[start : start + 100], start)
        ]
        await store.write([replace(each, lease=LeaseUpdate("done", ())) for each in batch])
    began = time.monotonic()
    assert (await client.http.delete("/v1/datasets/d")).status_code == 204
    assert time.monotonic() - began < 5
