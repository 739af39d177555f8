"""The store: late completions, repeated commits, duplicates under concurrency, a database that goes away."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.curation.candidate import Candidate
from app.curation.duplicates import fingerprints
from app.curation.registry import default_curation
from app.database import Database
from app.queue.states import LeaseKey, LeaseUpdate
from tests.support.stack import Client
from tests.test_queue import beat, claim
from workers.completion import AttemptRecord, Completion, SampleRecord
from workers.stages.deduplicate import lock_dataset
from workers.stages.records import insert_samples
from workers.stages.store import LINGER_S, Store

ANSWER = "The quick brown fox jumps over the lazy dog while the old farmer watches from his porch and smiles at them."


def completion(key: LeaseKey, response: str = ANSWER, **changes: Any) -> Completion:
    candidate = Candidate("i", "", None, response)
    sample = SampleRecord(None, response, None, fingerprints(default_curation("none"), candidate, key.seed_id))
    attempt = AttemptRecord("default", 12, finish_reason="stop", prompt_tokens=3, completion_tokens=5, raw=b"{}")
    return replace(Completion(key, 1, 0, attempt, sample, LeaseUpdate("done", ())), **changes)


async def leased(client: Client, database: Database, count: int) -> list[LeaseKey]:
    await client.create(reasoning="none")
    await client.push("d", [{"instruction": f"seed {number}"} for number in range(count)])
    return [seed.key for seed in await claim(database, await beat(database), count)]


async def test_a_late_completion_changes_nothing_but_is_accounted_for(client: Client, database: Database) -> None:
    """Its tokens count, its attempt is there as `stale_lease`, its sample is not."""
    [key] = await leased(client, database, 1)
    store = Store(database, capacity=10)
    await store.write([completion(replace(key, token=uuid.uuid4()))])
    view = await client.view()
    assert view["seeds"]["leased"] == 1
    assert view["samples"]["accepted"] == 0
    assert view["attempts"]["by_error"] == {"stale_lease": 1}
    assert view["tokens"] == {"prompt": 3, "completion": 5}
    assert store.stored.stale == 1


async def test_a_commit_that_is_repeated_stores_nothing_twice(client: Client, database: Database) -> None:
    """As after a lost acknowledgement: one attempt, one sample, one state change."""
    [key] = await leased(client, database, 1)
    store = Store(database, capacity=10)
    for _ in range(3):
        await store.write([completion(key)])
    view = await client.view()
    assert (view["attempts"]["total"], view["samples"]["accepted"], view["seeds"]["done"]) == (1, 1, 1)


async def test_two_stores_with_the_same_answer_at_once_keep_one(client: Client, database: Database) -> None:
    """Twenty concurrent transactions, nearly the same text: one is accepted."""
    keys = await leased(client, database, 20)
    store = Store(database, capacity=10)
    await asyncio.gather(*(store.write([completion(key, f"{ANSWER} {number}")]) for number, key in enumerate(keys)))
    view = await client.view()
    assert view["samples"] == {"accepted": 1, "rejected": 19, "by_reason": {"near_duplicate": 19}}


async def test_repeats_within_one_batch_are_found(client: Client, database: Database) -> None:
    """The earlier one of the batch is kept."""
    keys = await leased(client, database, 3)
    await Store(database, capacity=10).write([completion(key) for key in keys])
    [kept] = await client.samples(verdict="accepted")
    assert kept["seed_id"] == keys[0].seed_id
    assert (await client.view())["samples"]["by_reason"] == {"exact_duplicate": 2}


async def test_short_answers_may_be_the_same_across_seeds(client: Client, database: Database) -> None:
    """Two classification seeds may both be answered "positive"."""
    keys = await leased(client, database, 5)
    await Store(database, capacity=10).write([completion(key, "Positive.") for key in keys])
    assert (await client.view())["samples"]["accepted"] == 5


async def test_a_completion_that_cannot_be_stored_fails_alone(client: Client, database: Database) -> None:
    """Its neighbours are stored; its seed fails and says why."""
    keys = await leased(client, database, 3)
    bad = completion(keys[1])
    assert bad.sample is not None
    bad = replace(bad, sample=replace(bad.sample, response="nul \0 here", fingerprints=()))
    store = Store(database, capacity=10)
    runner = asyncio.create_task(store.run())
    for each in (completion(keys[0], "one " + ANSWER), bad, completion(keys[2], "Positive.")):
        await store.put(each)
    await store.flush()
    runner.cancel()
    view = await client.view()
    assert (view["seeds"]["done"], view["seeds"]["failed"]) == (2, 1)
    assert view["failures"][0]["error_class"] == "unstorable"


async def test_what_was_generated_is_kept_while_the_database_is_away(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write fails three times and then goes through; nothing is lost."""
    [key] = await leased(client, database, 1)
    store = Store(database, capacity=10)
    write, failures = store.write, iter(range(3))

    async def flaky(batch: Any) -> None:
        if next(failures, None) is not None:
            raise OperationalError("statement", {}, ConnectionError("gone"))
        await write(batch)

    monkeypatch.setattr(store, "write", flaky)
    runner = asyncio.create_task(store.run())
    await store.put(completion(key))
    await store.flush()
    runner.cancel()
    assert (await client.view())["samples"]["accepted"] == 1


async def test_a_deleted_dataset_does_not_stop_the_store(client: Client, database: Database) -> None:
    """A late answer for it is dropped, and the batch goes through."""
    [key] = await leased(client, database, 1)
    await client.http.delete("/v1/datasets/d")
    await Store(database, capacity=10).write([completion(key)])
    async with database.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM attempts"))).scalar_one() == 0


async def test_several_batches_are_under_way_but_one_lease_keeps_its_order(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch waits for its commit others are written; the next completion of a lease that is in it is not."""
    keys = await leased(client, database, 3)
    store = Store(database, capacity=10)
    write, began, release = store.write, asyncio.Queue[set[int]](), asyncio.Event()

    async def held(batch: Any) -> None:
        began.put_nowait({each.key.seed_id for each in batch})
        await release.wait()
        await write(batch)

    monkeypatch.setattr(store, "write", held)
    runner = asyncio.create_task(store.run())
    await store.put(completion(keys[0], "one " + ANSWER, lease=LeaseUpdate(None, (1,))))
    assert await began.get() == {keys[0].seed_id}
    await store.put(completion(keys[1], "Positive."))
    assert await began.get() == {keys[1].seed_id}
    await store.put(completion(keys[0], "A second answer, which is another one.", sample_index=1))
    await store.put(completion(keys[2], "Negative."))
    await asyncio.sleep(LINGER_S * 3)  # long enough to begin, were it allowed
    assert began.empty()
    release.set()
    await store.flush()
    runner.cancel()
    view = await client.view()
    assert (view["seeds"]["done"], view["samples"]["accepted"], view["attempts"]["total"]) == (3, 4, 4)
    assert store.unwritten() == set()


async def test_an_export_waits_for_stores_that_have_their_ids(client: Client, database: Database) -> None:
    """Two stores that compare nothing are under way; the one with the higher id commits first; an export sees neither gap nor half."""
    keys = await leased(client, database, 2)
    plain = [replace(each, sample=replace(each.sample, fingerprints=())) for each in map(completion, keys) if each.sample]
    first, second = [[(each, each.attempt, each.sample)] for each in plain if each.attempt and each.sample]
    dataset = (keys[0].workspace_id, keys[0].dataset_id)
    async with database.begin() as slow:
        await lock_dataset(slow, dataset, alone=False)
        await insert_samples(slow, first)
        async with database.begin() as quick:
            await lock_dataset(quick, dataset, alone=False)
            await insert_samples(quick, second)
        exporting = asyncio.create_task(client.export())
        async with asyncio.timeout(10):
            while not await _waits_for_an_advisory_lock(database):
                await asyncio.sleep(0.01)
        assert not exporting.done()
    lines = await exporting
    assert [line["meta"]["seed_id"] for line in lines] == [key.seed_id for key in keys]


async def _waits_for_an_advisory_lock(database: Database) -> bool:
    async with database.begin() as connection:
        waiting = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return bool((await connection.execute(waiting)).scalar_one())
