"""GET …/samples: pages, filters, one with its attempts; and the export while others write."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from app.curation.candidate import Reject
from app.database import Database
from tests.support.processes import api_process
from tests.support.stack import Client
from tests.test_store import completion, leased
from workers.stages.store import Store

TEXTS = [f"Answer number {number}: {' '.join(f'w{number}x{word}' for word in range(20))}" for number in range(25)]


@pytest.fixture
async def stored(client: Client, database: Database) -> Client:
    """25 samples, every fifth rejected as too short."""
    keys = await leased(client, database, 25)
    batch = [completion(key, text) for key, text in zip(keys, TEXTS, strict=True)]
    for number in range(0, 25, 5):
        sample = batch[number].sample
        assert sample is not None
        batch[number] = replace(batch[number], sample=replace(sample, reject=Reject("length", "too short"), fingerprints=()))
    await Store(database, capacity=10).write(batch)
    return client


async def test_pages_hold_every_sample_once(stored: Client) -> None:
    """By cursor, whatever the page size; the last page has none."""
    for size in (7, 25, 500):
        seen: list[int] = []
        cursor: str | None = None
        while True:
            parameters = {"limit": size, **({"cursor": cursor} if cursor else {})}
            page = (await stored.http.get("/v1/datasets/d/samples", params=parameters)).json()
            seen += [sample["sample_id"] for sample in page["samples"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 25


async def test_filters_by_verdict_reason_and_text(stored: Client) -> None:
    """Alone and together; wildcards in `q` are letters."""
    assert len(await stored.samples(verdict="accepted")) == 20
    rejected = await stored.samples(verdict="rejected", reason="length")
    assert [sample["detail"] for sample in rejected] == ["too short"] * 5
    assert [sample["response"] for sample in await stored.samples(q="NUMBER 13:")] == [TEXTS[13]]
    assert await stored.samples(q="number%13") == []
    assert await stored.samples(reason="refusal") == []


@pytest.mark.parametrize(
    "query", ["verdict=maybe", "limit=0", "limit=501", "cursor=x", "cursor=-1", "q=", "q=a%00b", "reason=%00"]
)
async def test_a_bad_query_is_422_and_names_the_parameter(stored: Client, query: str) -> None:
    """Never 500."""
    response = await stored.http.get(f"/v1/datasets/d/samples?{query}")
    assert response.status_code == 422
    assert query.split("=", maxsplit=1)[0] in response.text


@pytest.mark.parametrize("sample_id", ["0", "-1", "999999", str(2**63), str(2**70)])
async def test_no_such_sample_is_404(stored: Client, sample_id: str) -> None:
    """Also for ids that no bigint holds."""
    assert (await stored.http.get(f"/v1/datasets/d/samples/{sample_id}")).status_code == 404


async def test_one_sample_shows_its_seed_and_attempts(stored: Client) -> None:
    """The raw reply included."""
    [sample] = await stored.samples(q="number 3:")
    detail = (await stored.http.get(f"/v1/datasets/d/samples/{sample['sample_id']}")).json()
    assert detail["instruction"] == "seed 3"
    assert [attempt["raw"] for attempt in detail["attempts"]] == ["{}"]


async def test_an_export_holds_what_was_accepted_when_it_began(client: Client, database: Database) -> None:
    """Sixteen exports while a store writes: each has as many lines as it announced, ids ascending, none twice."""
    keys = await leased(client, database, 600)
    store = Store(database, capacity=10)
    write = asyncio.create_task(_write_all(store, keys))
    for lines in await asyncio.gather(*(client.export() for _ in range(16))):
        ids = [line["meta"]["sample_id"] for line in lines]
        assert ids == sorted(set(ids))
    await write
    assert len(await client.export()) == 600


async def _write_all(store: Store, keys: list) -> None:  # type: ignore[type-arg]
    for start in range(0, len(keys), 20):
        await store.write([completion(key, f"t{key.seed_id}") for key in keys[start : start + 20]])


async def test_unread_exports_hold_no_connections(client: Client, database: Database) -> None:
    """Twenty clients that stop reading in the middle of 12 MB, more than the pool has connections, leave the API ready."""
    keys = await leased(client, database, 600)
    store = Store(database, capacity=10)
    for start in range(0, 600, 100):
        await store.write([completion(key, f"{key.seed_id} " * 4000) for key in keys[start : start + 100]])
    async with api_process(database.dsn, {}) as served, AsyncExitStack() as unread, asyncio.timeout(40):
        for _ in range(20):
            response = await unread.enter_async_context(served.http.stream("GET", "/v1/datasets/d/export"))
            assert response.status_code == 200
        assert (await served.http.get("/readyz", timeout=5)).status_code == 200


async def test_an_unknown_format_is_422_and_names_those_there_are(stored: Client) -> None:
    """alpaca, for now."""
    response = await stored.http.get("/v1/datasets/d/export?format=csv")
    assert response.status_code == 422
    assert "alpaca" in response.json()["detail"]
