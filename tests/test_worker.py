"""The worker against a simulated vLLM over real HTTP: answers of every kind, faults of every kind."""

from __future__ import annotations

import asyncio

import pytest

from app.database import Database
from bench.simulated_vllm import Behaviour, Fault, FaultKind, ReasoningStyle, running
from tests.support.stack import serving, teachers_of, working

SEEDS = [{"instruction": f"Say something of number {number}."} for number in range(40)]


async def test_seeds_become_samples_that_are_exported(database: Database) -> None:
    """The whole way: every seed done, every accepted sample a line with its provenance."""
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            made = await client.create()
            await client.push("d", SEEDS)
            view = await client.until("idle")
            lines = await client.export()
    assert view["seeds"]["done"] == len(SEEDS)
    assert view["samples"]["accepted"] == len(lines) == len(SEEDS)
    assert {line["instruction"] for line in lines} == {seed["instruction"] for seed in SEEDS}
    for line in lines:
        assert list(line) == ["instruction", "input", "output", "reasoning", "meta"]
        assert line["output"]
        assert line["reasoning"]
        assert line["meta"]["recipe_hash"] == made["recipe_hash"]
    assert view["tokens"]["completion"] == sum(line["meta"]["tokens"]["completion"] for line in lines)


async def test_samples_of_one_seed_are_each_accepted_once(database: Database) -> None:
    """Three a seed; one lease covers them all."""
    async with running(Behaviour(latency_s=0.01)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create(samples_per_seed=3, sampling={"seed": 7})
            await client.push("d", SEEDS[:10])
            view = await client.until("idle")
            samples = await client.samples(verdict="accepted")
    assert view["samples"]["accepted"] == 30
    assert len({(sample["seed_id"], sample["sample_index"]) for sample in samples}) == 30


async def test_rejects_are_stored_with_reason_and_text(database: Database) -> None:
    """Refusals and repeats are counted by reason; each keeps what the teacher said and its raw reply."""
    behaviour = Behaviour(refusal_share=0.3, duplicates_share=0.3)
    async with running(behaviour) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS)
            view = await client.until("idle")
            rejected = await client.samples(verdict="rejected")
            reasons = view["samples"]["by_reason"]
            assert set(reasons) == {"refusal", "exact_duplicate"}
            assert len(rejected) == view["samples"]["rejected"]
            for reason, count in reasons.items():
                assert len(await client.samples(reason=reason)) == count
            detail = (await client.http.get(f"/v1/datasets/d/samples/{rejected[0]['sample_id']}")).json()
    assert all(sample["response"] and sample["detail"] for sample in rejected)
    assert detail["attempts"][0]["outcome"] == "ok"
    assert detail["response"] in detail["attempts"][0]["raw"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(Behaviour(empty_share=1.0), "empty"), (Behaviour(length_share=1.0), "truncation")],
    ids=["empty", "cut by the token limit"],
)
async def test_unfinished_answers_are_tried_again_up_to_the_recipes_limit(
    database: Database, behaviour: Behaviour, reason: str
) -> None:
    """Never accepted; each try is a counted reject; then the seed is done."""
    async with running(behaviour) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create(max_attempts=3)
            await client.push("d", SEEDS[:5])
            view = await client.until("idle")
    assert view["samples"] == {"accepted": 0, "rejected": 15, "by_reason": {reason: 15}}
    assert view["seeds"]["done"] == 5


PASSING = [
    FaultKind.HTTP_500,
    FaultKind.HTML_200,
    FaultKind.RESET_BEFORE,
    FaultKind.RESET_MID_BODY,
    FaultKind.TRUNCATED_JSON,
    FaultKind.EMPTY_CHOICES,
    FaultKind.ABORT,
]


@pytest.mark.parametrize("kind", PASSING)
async def test_a_passing_fault_costs_attempts_and_no_seed(database: Database, kind: FaultKind) -> None:
    """The first six calls fail so; every seed is done all the same, and each failure is an attempt with its class."""
    async with running(Behaviour(faults=(Fault(kind, first_n=6),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS[:20])
            view = await client.until("idle")
    assert view["seeds"]["done"] == view["samples"]["accepted"] == 20
    assert sum(view["attempts"]["by_error"].values()) == 6


@pytest.mark.parametrize(
    ("kind", "error_class"),
    [
        (FaultKind.HTTP_503, "overloaded"),
        (FaultKind.HTTP_502_HTML, "unavailable"),
        (FaultKind.HTTP_401, "unauthorized"),
        (FaultKind.HTTP_404_MODEL, "not_found"),
    ],
)
async def test_a_teacher_that_cannot_be_used_is_left_alone_for_a_while(
    database: Database, kind: FaultKind, error_class: str
) -> None:
    """Few calls are wasted on it, the dataset says why nothing moves, and no seed is charged."""
    async with running(Behaviour(faults=(Fault(kind),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS)
            async with asyncio.timeout(20):
                while not (view := await client.view())["warnings"]:
                    await asyncio.sleep(0.05)
            assert error_class in view["warnings"][0]
            simulated.behaviour = Behaviour()
            view = await client.until("idle")
    assert view["seeds"]["done"] == view["samples"]["accepted"] == len(SEEDS)
    assert view["attempts"]["by_error"][error_class] <= len(SEEDS)
    assert simulated.stats.requests <= 2 * len(SEEDS)


async def test_a_seed_that_the_teacher_refuses_fails_with_its_words(database: Database) -> None:
    """400: one seed fails, the others are done; requeued, it is tried again."""
    fault = Fault(FaultKind.HTTP_400, match="number 7.")
    async with running(Behaviour(faults=(fault,))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS[:20])
            view = await client.until("idle")
            assert (view["seeds"]["failed"], view["seeds"]["done"]) == (1, 19)
            assert "maximum context length" in view["failures"][0]["example"]
            simulated.behaviour = Behaviour()
            await client.http.post("/v1/datasets/d/requeue", json={"error_class": "bad_request"})
            view = await client.until("idle")
    assert (view["seeds"]["failed"], view["seeds"]["done"]) == (0, 20)


async def test_a_missing_metadata_key_fails_the_seed_without_a_call(database: Database) -> None:
    """The words name the key."""
    async with running(Behaviour()) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create(template="{metadata.topic}: {instruction}")
            await client.push("d", [{"instruction": "a", "metadata": {"topic": "t"}}, {"instruction": "b"}])
            view = await client.until("idle")
    assert (view["seeds"]["done"], view["seeds"]["failed"], view["attempts"]["total"]) == (1, 1, 1)
    assert "{metadata.topic}" in view["failures"][0]["example"]


@pytest.mark.parametrize("kind", [FaultKind.NUL_IN_TEXT, FaultKind.LONE_SURROGATE, FaultKind.INVALID_UTF8])
async def test_text_that_postgres_cannot_hold_is_a_typed_reject(database: Database, kind: FaultKind) -> None:
    """Its batch survives, and the raw reply is kept."""
    async with running(Behaviour(faults=(Fault(kind, match="number 3."),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS[:10])
            view = await client.until("idle")
    assert view["samples"] == {"accepted": 9, "rejected": 1, "by_reason": {"bad_text": 1}}


@pytest.mark.parametrize(
    ("style", "mode", "words"),
    [
        (ReasoningStyle.TAGS, "native", 'to "tags"'),
        (ReasoningStyle.NONE, "native", "none of its first"),
        (ReasoningStyle.NATIVE, "tags", 'to "native"'),
        (ReasoningStyle.TAGS, "none", 'to "tags"'),
    ],
)
async def test_a_reasoning_setting_that_does_not_fit_is_flagged_within_20_answers(
    database: Database, style: ReasoningStyle, mode: str, words: str
) -> None:
    """In words that name the setting to change."""
    async with running(Behaviour(reasoning=style)) as simulated:
        teachers = teachers_of(simulated, reasoning=mode)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS[:20])
            view = await client.until("idle")
    [warning] = view["warnings"]
    assert "LIMBECK_TEACHER_REASONING" in warning
    assert words in warning


@pytest.mark.parametrize(
    ("style", "mode"),
    [
        (ReasoningStyle.NATIVE, "native"),
        (ReasoningStyle.REASONING_CONTENT, "native"),
        (ReasoningStyle.TAGS, "tags"),
        (ReasoningStyle.TAGS_NO_OPEN, "tags"),
        (ReasoningStyle.TAGS, "elicited"),
        (ReasoningStyle.NONE, "none"),
    ],
)
async def test_each_way_that_reasoning_arrives_is_read(database: Database, style: ReasoningStyle, mode: str) -> None:
    """No warning, reasoning and answer apart, no tag left in either."""
    async with running(Behaviour(reasoning=style)) as simulated:
        teachers = teachers_of(simulated, reasoning=mode)
        async with serving(database, teachers) as client, working(database, teachers):
            await client.create()
            await client.push("d", SEEDS[:6])
            view = await client.until("idle")
            lines = await client.export()
    assert (view["warnings"], view["samples"]["accepted"]) == ([], 6)
    for line in lines:
        assert bool(line["reasoning"]) == (mode != "none")
        assert "think>" not in line["output"] + line["reasoning"]


async def test_a_stopped_worker_drains_and_gives_back_the_rest(database: Database) -> None:
    """What finishes within the drain time is stored; nothing stays leased; another worker finishes."""
    async with running(Behaviour(latency_s=0.3)) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client:
            await client.create()
            await client.push("d", SEEDS)
            async with working(database, teachers, max_in_flight=8, drain_s=5.0):
                async with asyncio.timeout(20):
                    while simulated.stats.in_flight < 8:
                        await asyncio.sleep(0.01)
            view = await client.view()
            assert view["seeds"]["leased"] == 0
            assert view["seeds"]["done"] >= 8
            async with working(database, teachers):
                view = await client.until("idle")
    assert view["samples"]["accepted"] == len(SEEDS)
    assert simulated.stats.requests == len(SEEDS)


async def test_a_drain_that_runs_out_of_time_loses_nothing(database: Database) -> None:
    """Calls that hang are given back uncharged, and done by the next worker."""
    async with running(Behaviour(faults=(Fault(FaultKind.HANG),))) as simulated:
        teachers = teachers_of(simulated)
        async with serving(database, teachers) as client:
            await client.create()
            await client.push("d", SEEDS[:5])
            async with working(database, teachers, drain_s=0.2):
                async with asyncio.timeout(20):
                    while simulated.stats.requests < 5:
                        await asyncio.sleep(0.01)
            assert (await client.view())["seeds"]["queued"] == 5
            simulated.behaviour = Behaviour()
            async with working(database, teachers):
                view = await client.until("idle")
    assert view["samples"]["accepted"] == 5


async def test_a_teacher_that_is_down_is_waited_for(database: Database) -> None:
    """Nothing listens: the dataset says so, and no seed is lost or failed."""
    teachers = teachers_of("http://127.0.0.1:9")
    async with serving(database, teachers) as client, working(database, teachers):
        await client.create()
        await client.push("d", SEEDS[:5])
        async with asyncio.timeout(20):
            while not (view := await client.view())["warnings"]:
                await asyncio.sleep(0.05)
    assert "connect" in view["warnings"][0]
    assert (await _states(database)) == {"queued": 5}


async def _states(database: Database) -> dict[str, int]:
    from sqlalchemy import text

    async with database.begin() as connection:
        return {row[0]: row[1] for row in await connection.execute(text("SELECT state, count(*) FROM leases GROUP BY state"))}
