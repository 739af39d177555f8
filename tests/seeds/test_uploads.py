"""Long, slow and hostile uploads over the API: order and counts hold, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import orjson
import psutil
import pytest
from sqlalchemy import text

from app.database import Database
from app.seeds import service
from tests.support.processes import api_process, simulated_env
from tests.support.stack import NDJSON, Client

PATH = "/v1/datasets/d/seeds"


def lines_of(*numbers: int) -> bytes:
    return b"".join(orjson.dumps({"instruction": f"seed {number}"}) + b"\n" for number in numbers)


async def push(client: Client, body: bytes | AsyncIterator[bytes], **headers: str) -> dict[str, Any]:
    response = await client.http.post(PATH, content=body, headers={**NDJSON, **headers}, timeout=60)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_ids_follow_the_lines_and_repeats_across_batches_are_duplicates(client: Client, database: Database) -> None:
    """The first of two is the one that is stored; line numbers count across batches, blank and bad lines included."""
    await client.create()
    size = service.BATCH_SEEDS
    body = b"\n" + lines_of(*range(size)) + b"nope\n" + lines_of(*range(size // 2, 2 * size + 7))
    answer = await push(client, body)
    assert answer == {
        "lines": size + 1 + size + size // 2 + 7,
        "received": size + 1 + size + size // 2 + 7,
        "queued": 2 * size + 7,
        "duplicates": size // 2,
        "rejected_total": 1,
        "rejected": [{"line": size + 2, "field": None, "error": answer["rejected"][0]["error"]}],
    }
    async with database.begin() as connection:
        rows = (await connection.execute(text("SELECT instruction, upload_line FROM seeds ORDER BY seed_id"))).all()
    first = [(f"seed {number}", number + 2) for number in range(size)]
    later = [(f"seed {number}", number + 3 + size // 2) for number in range(size, 2 * size + 7)]
    assert [tuple(row) for row in rows] == first + later


async def test_two_uploads_of_the_same_seeds_store_each_once(client: Client) -> None:
    """Both are answered, each answer adds up, and together they queued every seed once."""
    await client.create()
    body = lines_of(*range(20_000))
    answers = await asyncio.gather(push(client, body), push(client, body))
    for answer in answers:
        assert answer["queued"] + answer["duplicates"] == answer["received"] == 20_000
    assert sum(answer["queued"] for answer in answers) == (await client.view())["seeds"]["total"] == 20_000


async def test_a_cancelled_dataset_is_told_before_the_body_ends(client: Client) -> None:
    """A store that is refused ends the upload although its client never stops sending."""
    await client.create()

    async def endless() -> AsyncIterator[bytes]:
        number = 0
        while True:
            yield lines_of(*range(number, number + service.BATCH_SEEDS))
            number += service.BATCH_SEEDS
            if number == 2 * service.BATCH_SEEDS:
                await client.http.post("/v1/datasets/d/cancel")

    response = await client.http.post(PATH, content=endless(), headers=NDJSON)
    assert response.status_code == 409
    seeds = (await client.view())["seeds"]
    assert seeds["total"] == seeds["cancelled"]


async def test_a_slow_upload_is_stored_before_its_batch_is_full(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second line waits until the first is in the queue."""
    monkeypatch.setattr(service, "BATCH_AGE_S", 0.0)
    await client.create()

    async def slow() -> AsyncIterator[bytes]:
        yield lines_of(1)
        await client.until("running")
        yield lines_of(2)

    assert (await push(client, slow()))["queued"] == 2


async def test_uploads_that_wait_for_a_dataset_leave_connections_to_others(client: Client, database: Database) -> None:
    """Thirty uploads, more than there are connections, wait for a dataset that is just being cancelled; others are answered."""
    await client.create()
    await client.create("other")
    async with database.begin() as connection:
        await connection.execute(text("SELECT FROM datasets WHERE name = 'd' FOR NO KEY UPDATE"))
        uploads = [asyncio.create_task(push(client, lines_of(number))) for number in range(30)]
        waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
        async with asyncio.timeout(20):
            while True:
                async with database.begin() as other:
                    opened = (await other.execute(text("SELECT count(*) FROM uploads"))).scalar_one()
                    stuck = (await other.execute(waiting)).scalar_one()
                if opened == 30 and stuck:
                    break
                await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            assert (await client.view("other"))["seeds"]["total"] == 0
        assert not any(task.done() for task in uploads)
    assert sum([(await task)["queued"] for task in uploads]) == 30


@pytest.mark.parametrize("line", [b"{}\n", b"\n", b"x"], ids=["tiny lines", "blank lines", "one line"])
async def test_a_gzip_bomb_does_not_stop_others(client: Client, line: bytes) -> None:
    """A body of some kilobytes unpacks to 4 MiB; the loop goes round all the while."""
    await client.create()
    bomb = gzip.compress(line * (4 * 2**20 // len(line)))
    assert len(bomb) < 64 * 1024
    turns = 0
    done = asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    bystander = asyncio.create_task(others())
    response = await client.http.post(PATH, content=bomb, headers={**NDJSON, "content-encoding": "gzip"}, timeout=60)
    done.set()
    await bystander
    assert response.status_code in (202, 422)
    assert turns >= 4 * 2**20 // (64 * 1024)


@pytest.mark.parametrize("kind", ["seeds", "rejects", "one line"])
async def test_memory_stays_flat_while_a_long_body_comes_in(dsn: str, kind: str) -> None:
    """100 MB to a real API process; what it holds after the first 20 MB grows by less than 30 MB."""
    line = {"seeds": b'{"instruction": "' + b"a" * 1000 + b'"}\n', "rejects": b'{"output": "' + b"a" * 1000 + b'"}\n'}
    chunk = line.get(kind, b"a" * 1000) * 1000
    held: list[int] = []
    async with api_process(dsn, simulated_env("http://127.0.0.1:9")) as client:
        await client.create()
        [api] = [child for child in psutil.Process().children() if "api" in child.cmdline()]

        async def body() -> AsyncIterator[bytes]:
            yield lines_of(0)
            for _ in range(100):
                yield chunk
                held.append(api.memory_info().rss)

        answer = await push(client, body())
    assert answer["queued"] == (2 if kind == "seeds" else 1)
    assert answer["received"] == (2 if kind == "one line" else 100_001)
    assert max(held[20:]) - held[20] < 30e6
