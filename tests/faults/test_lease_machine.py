"""The lease life cycle under any order of events: Hypothesis plays workers, users and bad luck against real Postgres."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from app.queue.repository import QueueRepository
from app.queue.states import MAX_SETBACKS
from tests.faults.lease_model import SAMPLES, SETTLED, Model, Seed, completion_of, row_of
from tests.faults.lease_stage import ACCEPTED, ATTEMPTS, BEAT, DATASET_ID, LEASES, SEED_IDS, Stage
from tests.faults.servers import Postgres
from tests.support.stack import assert_adds_up
from workers.completion import Completion
from workers.stages.store import Store

NAMES = itertools.count()
WHICH = st.integers(min_value=0, max_value=2)
PICK = st.integers(min_value=0, max_value=1_000_000)


class LeaseMachine(RuleBasedStateMachine):
    """Three workers, one dataset of two samples a seed. Every rule is one transaction of the engine's."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.name = f"machine-{next(NAMES)}"
        self.model = Model()
        self.store = Store(stage.database, capacity=100)
        self.workers = [uuid.uuid4() for _ in range(3)]

    async def queue(self, verb: str, *arguments: Any) -> Any:
        async with self.stage.database.begin() as connection:
            return await getattr(QueueRepository(connection), verb)(*arguments)

    def write(self, batch: list[Completion]) -> None:
        self.stage.run(self.store.write(batch))
        for completion in batch:
            self.model.stored(completion)

    def post(self, verb: str, json: Any = None) -> Any:
        return self.stage.run(self.stage.client.http.post(f"/v1/datasets/{self.name}/{verb}", json=json))

    def rows(self, query: Any, **values: Any) -> list[Any]:
        async def read() -> list[Any]:
            async with self.stage.database.begin() as connection:
                result = await connection.execute(query, values or {"name": self.name})
                return list(result) if result.returns_rows else []

        return self.stage.run(read())

    @initialize()
    def create(self) -> None:
        self.stage.run(self.stage.client.create(self.name, samples_per_seed=SAMPLES, reasoning="none", curation=[]))
        for worker in self.workers:
            self.rows(BEAT, id=worker, ago=0)
        self.push(3)
        self.dataset_id = self.rows(DATASET_ID)[0][0]

    @precondition(lambda self: len(self.model.seeds) < 8)
    @rule(count=st.integers(1, 3))
    def push(self, count: int) -> None:
        if self.model.state != "cancelled":
            texts = [f"seed {len(self.model.seeds) + number}" for number in range(count)]
            self.stage.run(self.stage.client.push(self.name, [{"instruction": text} for text in texts]))
            for (seed_id,) in self.rows(SEED_IDS):
                self.model.seeds.setdefault(seed_id, Seed())

    @rule(which=WHICH, size=st.integers(1, 4))
    def claim(self, which: int, size: int) -> None:
        """Never more than asked for, never a seed that is not due, and all that there are."""
        worker = self.workers[which]
        due = [seed for seed in self.model.seeds.values() if seed.state == "queued" and seed.due]
        mine = [d for d in self.stage.run(self.queue("runnable")) if d.dataset_id == self.dataset_id]
        assert bool(mine) == bool(due and self.model.state == "running")
        for dataset in mine:
            leased = self.stage.run(self.queue("claim", dataset, worker, size))
            assert len(leased) == min(size, len(due))
            for seed in leased:
                self.model.claimed(seed, worker)

    def lease_some(self, which: int) -> None:
        """So that what follows has something to act on: most orders of events would otherwise come to nothing."""
        if not self.model.counts()["leased"]:
            if not any(seed.state == "queued" and seed.due for seed in self.model.seeds.values()):
                self.push(2)
            self.claim(which, 3)

    @rule(
        which=WHICH,
        picks=st.lists(PICK, min_size=1, max_size=4),
        outcome=st.sampled_from(["accepted", "rejected", "error", "again"]),
        then=st.sampled_from(sorted(SETTLED)),
    )
    def complete(self, which: int, picks: list[int], outcome: str, then: str) -> None:
        """Some of the samples that are out, of any leases, in one transaction."""
        self.lease_some(which)
        batch = []
        for pick in picks:
            out = [lease for lease in self.model.leases.values() if lease.left and self.model.is_current(lease.seed.key)]
            if out:
                lease = out[pick % len(out)]
                batch.append(completion_of(lease, lease.left[pick % len(lease.left)], outcome, SETTLED[then]))
        self.write(batch)

    @precondition(lambda self: any(lease.last for lease in self.model.leases.values()))
    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """A lost acknowledgement: the last completion of a lease is written again, whoever owns the seed by now."""
        told = [lease.last for lease in self.model.leases.values() if lease.last]
        self.write([told[pick % len(told)]])

    @precondition(lambda self: any(not self.model.is_current(lease.seed.key) for lease in self.model.leases.values()))
    @rule(pick=PICK, outcome=st.sampled_from(["accepted", "error"]))
    def come_late(self, pick: int, outcome: str) -> None:
        """A worker that had been given up brings what it still had out."""
        stale = [lease for lease in self.model.leases.values() if lease.left and not self.model.is_current(lease.seed.key)]
        if stale:
            lease = stale[pick % len(stale)]
            self.write([completion_of(lease, lease.left[0], outcome, SETTLED["setback"])])

    @rule(which=WHICH, keep=st.booleans())
    def release(self, which: int, keep: bool) -> None:
        """A worker leaves, or gives back what it does not hold."""
        self.lease_some(which)
        mine = [seed for seed in self.model.seeds.values() if seed.worker == self.workers[which]]
        held = [seed.token for seed in mine[:1]] if keep else []
        given = [seed for seed in mine if seed.token not in held]
        assert self.stage.run(self.queue("release", self.workers[which], held)) == len(given)
        for seed in given:
            seed.leave("queued")
            seed.tries -= 1

    @rule(which=WHICH, dead=st.sets(WHICH), rounds=st.sampled_from([1, 1, 1, 2, MAX_SETBACKS]))
    def rescue(self, which: int, dead: set[int], rounds: int) -> None:
        """Some workers have not beaten for longer than a lease; the others have. Again and again, and seeds are failed."""
        for number, worker in enumerate(self.workers):
            self.rows(BEAT, id=worker, ago=3601 if number in dead else 0)
        for _ in range(rounds):
            self.lease_some(which)
            lost = [seed for seed in self.model.seeds.values() if seed.worker in {self.workers[number] for number in dead}]
            for seed in lost:
                seed.lose()
            failed = sum(seed.state == "failed" for seed in lost)
            assert self.stage.run(self.queue("rescue")) == (len(lost) - failed, failed)

    @rule(which=WHICH, for_long=st.booleans())
    def pause(self, which: int, for_long: bool) -> None:
        """Nothing is claimed; what is leased goes on."""
        self.move("pause", "paused")
        self.claim(which, 2)
        if not for_long:
            self.move("resume", "running")

    @precondition(lambda self: self.model.state != "running")
    @rule()
    def resume(self) -> None:
        self.move("resume", "running")

    def move(self, verb: str, state: str) -> None:
        refused = self.model.state == "cancelled"
        assert self.post(verb).status_code == (409 if refused else 200)
        if not refused:
            self.model.state = state

    @precondition(lambda self: self.model.counts()["failed"])
    @rule(error_class=st.sampled_from([None, "bad_request", "worker_lost"]))
    def requeue(self, error_class: str | None) -> None:
        response = self.post("requeue", {"error_class": error_class})
        assert response.status_code == (409 if self.model.state == "cancelled" else 200)
        if response.status_code == 200:
            chosen = [s for s in self.model.seeds.values() if s.state == "failed" and error_class in (None, s.error_class)]
            assert response.json() == {"requeued": len(chosen)}
            for seed in chosen:
                seed.state, seed.tries, seed.setbacks, seed.due = "queued", 0, 0, True

    @precondition(lambda self: len(self.model.attempts) > 12)
    @rule()
    def cancel(self) -> None:
        assert self.post("cancel").status_code == 200
        self.model.state = "cancelled"
        for seed in self.model.seeds.values():
            if seed.state in ("queued", "leased"):
                seed.leave("cancelled")

    @invariant()
    def postgres_holds_what_the_model_holds(self) -> None:
        """One state a seed, tokens and counts as they should be, nothing changed by a token that is not current."""
        rows = self.rows(LEASES)
        held = {row.seed_id: {key: value for key, value in row._mapping.items() if key != "seed_id"} for row in rows}
        assert held == {seed_id: row_of(seed) for seed_id, seed in self.model.seeds.items()}
        assert all(row.tries >= 0 and row.setbacks >= 0 for row in rows)
        assert {tuple(row)[:3]: row.error_class for row in self.rows(ATTEMPTS)} == self.model.attempts
        accepted = {(row[0], row[1]): row[2] for row in self.rows(ACCEPTED)}
        assert accepted == self.model.accepted
        assert all(times == 1 for times in accepted.values())

    @invariant()
    def the_funnel_adds_up(self) -> None:
        if self.model.seeds:
            view = self.stage.run(self.stage.client.view_unchecked(self.name))
            assert_adds_up(view)
            counts = self.model.counts()
            assert {state: n for state, n in view["seeds"].items() if n and state != "total"} == counts
            stored = (view["samples"]["accepted"], view["samples"]["rejected"])
            assert stored == (self.model.accepted.total(), self.model.rejected)

    def teardown(self) -> None:
        """Rescue looks at every dataset: what an example leaves leased would be found by the next one."""
        self.post("cancel")


def test_the_lease_life_cycle_under_any_order_of_events(postgres: Postgres) -> None:
    """Whatever is claimed, completed, failed, given back, rescued, cancelled, paused, requeued, repeated or late."""
    stage = Stage(postgres)

    class Machine(LeaseMachine):
        def __init__(self) -> None:
            super().__init__(stage)

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=16,
                stateful_step_count=40,
                deadline=None,
                phases=[
                    Phase.explicit,
                    Phase.reuse,
                    Phase.generate,
                ],  # each step is several statements: shrinking takes minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        stage.close()
