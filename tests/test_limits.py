"""Targets, budgets, pauses that hang up, recipe revisions: against a simulated vLLM over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.database import Database
from app.teachers.config import Teacher, Teachers
from bench.simulated_vllm import Behaviour, running
from tests.support.processes import process, simulated_env, simulated_teacher, worker_env
from tests.support.stack import Client, assert_adds_up, serving, teachers_of, working

SEEDS = [{"instruction": f"Say something of number {number}."} for number in range(400)]


async def make(client: Client, **fields: Any) -> dict[str, Any]:
    response = await client.http.post("/v1/datasets", json={"name": "d", **fields})
    assert response.status_code == 201, response.text
    view: dict[str, Any] = response.json()
    return view


async def patch(client: Client, **fields: Any) -> dict[str, Any]:
    response = await client.http.patch("/v1/datasets/d", json=fields)
    assert response.status_code == 200, response.text
    view: dict[str, Any] = response.json()
    return view


async def test_a_target_is_met_exactly_with_two_workers_and_bad_answers(database: Database) -> None:
    """Sixty in a hundred pass; 100 are asked for; the dataset pauses itself at 100."""
    async with running(Behaviour(refusal_share=0.4, latency_s=0.02)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers), working(database, teachers):
            await make(client, target_accepted=100)
            await client.push("d", SEEDS)
            view = await client.until("paused")
            async with asyncio.timeout(20):
                while view["seeds"]["leased"]:
                    view = await client.view()
                    await asyncio.sleep(0.05)
    assert view["samples"]["accepted"] == 100
    assert view["paused_because"] == "target: 100 samples are accepted"
    assert view["seeds"]["queued"] > 0
    assert len({line["meta"]["seed_id"] for line in await exported(database, teachers)}) == 100


async def exported(database: Database, teachers: Teachers) -> list[dict[str, Any]]:
    async with serving(database, teachers) as client:
        return await client.export()


async def test_a_target_is_met_exactly_after_a_kill(dsn: str, database: Database) -> None:
    """Two worker processes, one killed half-way: neither less nor more than what was asked for."""
    async with simulated_teacher("--latency-s", "0.05", "--refusal-share", "0.4") as url:
        env = worker_env(dsn, simulated_env(url))
        async with serving(database, teachers_of(url)) as client, process("workers", **env):
            await make(client, target_accepted=150)
            await client.push("d", SEEDS)
            async with process("workers", **env) as victim:
                async with asyncio.timeout(30):
                    while (await client.view())["samples"]["accepted"] < 50:
                        await asyncio.sleep(0.05)
                victim.kill()
            view = await client.until("paused")
    assert view["samples"]["accepted"] == 150


async def test_a_raised_target_goes_on_after_resume(database: Database) -> None:
    """Resuming at the target is refused, and says which limit to raise."""
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await make(client, target_accepted=10)
            await client.push("d", SEEDS[:50])
            await client.until("paused")
            refused = await client.http.post("/v1/datasets/d/resume")
            assert refused.status_code == 409
            assert "target: 10 samples are accepted" in refused.json()["detail"]
            await patch(client, target_accepted=25)
            assert (await client.http.post("/v1/datasets/d/resume")).json()["paused_because"] is None
            async with asyncio.timeout(20):
                while (view := await client.view())["samples"]["accepted"] < 25 or view["state"] != "paused":
                    await asyncio.sleep(0.05)
    assert view["samples"]["accepted"] == 25


@pytest.mark.parametrize(
    ("budget", "words"),
    [({"attempts": 30}, "attempts are made (limit 30)"), ({"tokens": 2000}, "tokens are used (limit 2000)")],
    ids=["attempts", "tokens"],
)
async def test_a_budget_pauses_the_dataset_and_keeps_what_was_in_flight(
    database: Database, budget: dict[str, int], words: str
) -> None:
    """At most what was in flight goes beyond it; every answer that was paid for is stored."""
    async with running(Behaviour(latency_s=0.05)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=4):
            await make(client, budget=budget)
            await client.push("d", SEEDS)
            await client.until("paused")
            async with asyncio.timeout(20):
                while (view := await client.view())["seeds"]["leased"]:
                    await asyncio.sleep(0.05)
    assert words in view["paused_because"]
    assert view["attempts"]["total"] == view["attempts"]["ok"] == simulated.stats.completed
    if "attempts" in budget:
        assert 30 <= view["attempts"]["total"] <= 36
    assert view["seeds"]["queued"] > 200


async def test_time_that_is_over_pauses_the_dataset(database: Database) -> None:
    """Counted from when it was made."""
    async with running(Behaviour(latency_s=0.2)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=2):
            await make(client, budget={"wall_s": 1})
            await client.push("d", SEEDS)
            view = await client.until("paused")
    assert view["paused_because"] == "budget: its 1 seconds are over"


async def test_a_limit_set_later_counts_what_was_used_before(database: Database) -> None:
    """And null takes it away again; what a change leaves out stays."""
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await make(client, weight=2.5)
            await client.push("d", SEEDS[:30])
            await client.until("idle")
            changed = await patch(client, budget={"attempts": 40, "tokens": None})
            assert (changed["weight"], changed["budget"]) == (2.5, {"attempts": 40, "tokens": None, "wall_s": None})
            await client.push("d", SEEDS[30:])
            view = await client.until("paused")
            assert 40 <= view["attempts"]["total"] <= 80
            await patch(client, budget={"attempts": None})
            await client.http.post("/v1/datasets/d/resume")
            view = await client.until("idle")
    assert view["samples"]["accepted"] == len(SEEDS)


@pytest.mark.parametrize(
    "fields",
    [
        {"weight": 0},
        {"weight": -1},
        {"target_accepted": 0},
        {"budget": {"attempts": 0}},
        {"budget": {"dollars": 1}},
        {"name": "x"},
    ],
)
async def test_limits_that_make_no_sense_are_refused(client: Client, fields: dict[str, Any]) -> None:
    """422, with the field's name."""
    await client.create()
    response = await client.http.patch("/v1/datasets/d", json=fields)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"].split(".")[0] in fields


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_pausing_and_cancelling_hang_up_on_calls_in_flight(database: Database, action: str) -> None:
    """Within seconds; each call is an attempt `recalled`, no seed is charged, and resuming does them all."""
    async with running(Behaviour(latency_s=30.0)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=8):
            await client.create()
            await client.push("d", SEEDS[:20])
            async with asyncio.timeout(10):
                while simulated.stats.in_flight < 8:
                    await asyncio.sleep(0.01)
            await client.http.post(f"/v1/datasets/d/{action}")
            async with asyncio.timeout(4):
                while simulated.stats.in_flight or (await client.view())["seeds"]["leased"]:
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(4):
                while not (view := await client.view())["attempts"]["total"]:
                    await asyncio.sleep(0.02)
            if action == "pause":
                assert view["attempts"]["by_error"] == {"recalled": 8}
                assert view["seeds"]["queued"] == 20
                simulated.behaviour = Behaviour()
                await client.http.post("/v1/datasets/d/resume")
                view = await client.until("idle")
                assert view["samples"]["accepted"] == 20
            else:
                assert view["seeds"]["cancelled"] == 20


async def test_a_changed_recipe_applies_to_what_is_not_done(database: Database) -> None:
    """Done samples keep the revision that made them; the rest follows the new one, in the export too."""
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            first = await client.create()
            await client.push("d", SEEDS[:20])
            await client.until("idle")
            recipe = {"samples_per_seed": 2, "sampling": {"temperature": 0.2, "seed": 7}}
            changed = (await client.http.put("/v1/datasets/d/recipe", json=recipe)).json()
            assert (changed["recipe_revision"], changed["recipe"]["samples_per_seed"]) == (2, 2)
            same = (await client.http.put("/v1/datasets/d/recipe", json=recipe)).json()
            assert same["recipe_revision"] == 2
            await client.push("d", SEEDS[20:30])
            view = await client.until("idle")
            lines = await client.export()
    assert view["samples"]["accepted"] == 20 + 2 * 10
    hashes = [line["meta"]["recipe_hash"] for line in lines]
    assert (hashes.count(first["recipe_hash"]), hashes.count(changed["recipe_hash"])) == (20, 20)


async def test_a_recipe_for_more_samples_reaches_seeds_that_are_half_done(client: Client, database: Database) -> None:
    """One of two is settled; four are asked for now: three are open. Fewer are asked for: what is beyond is dropped."""
    from sqlalchemy import text

    from app.queue.repository import QueueRepository
    from app.queue.states import LeaseUpdate
    from tests.test_queue import beat, claim

    await client.create(samples_per_seed=2)
    await client.push("d", SEEDS[:1])
    [seed] = await claim(database, await beat(database))
    async with database.begin() as connection:
        await QueueRepository(connection).update({seed.key: LeaseUpdate("queued", (1,))})
    for samples, left in ((4, [1, 2, 3]), (3, [1, 2]), (1, [])):
        await client.http.put("/v1/datasets/d/recipe", json={"samples_per_seed": samples})
        async with database.begin() as connection:
            assert (await connection.execute(text("SELECT open_samples FROM leases"))).scalar_one() == left


async def test_datasets_share_a_teacher_by_weight_and_a_late_one_is_not_starved(database: Database) -> None:
    """One has 400 seeds and began first; the other, of three times its weight, gets three calls of four once it is there."""
    async with running(Behaviour(latency_s=0.2)) as simulated:
        teachers = Teachers({"default": Teacher(urls=(simulated.url,), model="simulated", start_in_flight=16)})
        async with serving(database, teachers) as client, working(database, teachers, max_in_flight=16):
            await client.create("flood")
            await client.push("flood", SEEDS)
            async with asyncio.timeout(20):
                while simulated.stats.completed < 40:
                    await asyncio.sleep(0.01)
            await client.http.post("/v1/datasets", json={"name": "late", "weight": 3})
            await client.push("late", [{"instruction": f"late {number}"} for number in range(120)])
            before = (await client.view("flood"))["samples"]["accepted"]
            await client.until("idle", "late")
            after = (await client.view("flood"))["samples"]["accepted"]
    assert after - before <= 110, "40 would be its part; what was leased before, and a claim's delay, come on top"


async def test_teachers_and_metrics_show_what_the_workers_tell(database: Database) -> None:
    """The level, why, and the calls; /metrics needs no key and holds no dataset's name."""
    async with running(Behaviour(latency_s=0.1)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers, heartbeat_s=0.2):
            await client.create("secret-name")
            await client.push("secret-name", SEEDS[:200])
            async with asyncio.timeout(20):
                while not (seen := (await client.view("secret-name"))["teacher"])["in_flight"]:
                    await asyncio.sleep(0.05)
            [teacher] = (await client.http.get("/v1/teachers")).json()["teachers"]
            page = (await client.http.get("/metrics", headers={"authorization": ""})).text
            await client.until("idle", "secret-name")
    assert seen["level"] >= 1
    [replica] = teacher["replicas"]
    assert (teacher["name"], replica["url"], replica["fault"]) == ("default", simulated.url, None)
    assert replica["level_reason"]
    assert f'limbeck_teacher_up{{teacher="default",url="{simulated.url}",worker="' in page
    assert "limbeck_workers 1.0" in page
    assert "secret-name" not in page


def test_assertions_hold_for_an_empty_view() -> None:
    """The checker itself refuses what does not add up."""
    counts = dict.fromkeys(("queued", "leased", "done", "failed", "cancelled"), 0)
    view = {
        "seeds": {"total": 1, **counts},
        "samples": {"accepted": 0, "rejected": 0, "by_reason": {}},
        "attempts": {"total": 0, "ok": 0, "by_error": {}},
    }
    with pytest.raises(AssertionError):
        assert_adds_up(view)
