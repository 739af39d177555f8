"""Completions into Postgres: batched, one short transaction each, fenced by the lease token."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database import Database
from app.datasets.spending import DatasetId, SpendingRepository, Spent
from app.logs import get_logger
from app.queue.repository import QueueRepository
from workers.completion import MAX_RAW_BYTES, STALE, UNSTORABLE, Completion
from workers.stages.deduplicate import deduplicate, keys_of, lock_dataset
from workers.stages.records import insert_attempts, insert_keys, insert_samples, name_of

logger = get_logger(__name__)
BATCH = 100
LINGER_S = 0.02
LONGEST_PAUSE_S = 5.0
# So many batches are under way at once: one waits for its commit while the next is sent.
WRITERS = 3
MAX_BATCH_CHARS = 16 * 1024 * 1024


@dataclass
class Stored:
    """Counts since the worker started."""

    attempts: int = 0
    accepted: int = 0
    rejected: int = 0
    stale: int = 0


class Store:
    """Gathers completions and writes them; while the database is away it keeps them and tries again.

    Nothing that was generated is thrown away: only `close` ends the trying, and only when told to.
    """

    def __init__(self, database: Database, *, capacity: int) -> None:
        self._database = database
        self._queue: asyncio.Queue[Completion] = asyncio.Queue(maxsize=capacity)
        self._gathering = asyncio.Lock()
        self._ahead: Completion | None = None
        self._busy: set[UUID] = set()
        self._freed = asyncio.Event()
        self._unwritten: Counter[UUID] = Counter()
        self._backlog: Counter[DatasetId] = Counter()
        self.stored = Stored()

    async def put(self, completion: Completion) -> None:
        """Hand over one completion; waits while too many are unwritten."""
        self._unwritten[completion.key.token] += 1
        self._backlog[_dataset(completion)] += 1
        await self._queue.put(completion)

    def unwritten(self) -> set[UUID]:
        """The tokens of leases with a completion that is not written yet."""
        return set(self._unwritten)

    def backlog(self, dataset: DatasetId) -> int:
        """Completions of that dataset that are not written yet."""
        return self._backlog[dataset]

    async def run(self) -> None:
        """Write until cancelled, several batches at once; those of one lease in the order in which they were put."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._write_batches())

    async def _write_batches(self) -> None:
        while True:
            async with self._gathering:
                batch = await self._gather()
                tokens = {completion.key.token for completion in batch}
                self._busy |= tokens
            try:
                await self._write_persistently(batch)
            finally:
                self._busy -= tokens
                self._freed.set()
            for completion in batch:
                self._queue.task_done()
                _less(self._unwritten, completion.key.token)
                _less(self._backlog, _dataset(completion))

    async def flush(self) -> None:
        """Wait until all that was put is written."""
        await self._queue.join()

    async def _gather(self) -> list[Completion]:
        """The next batch. It ends before a completion whose lease another batch is about to change."""
        first = self._ahead or await self._queue.get()
        self._ahead = None
        while first.key.token in self._busy:
            self._freed.clear()
            await self._freed.wait()
        if self._queue.qsize() < BATCH - 1:
            await asyncio.sleep(LINGER_S)
        batch, size = [first], _chars(first)
        while len(batch) < BATCH and size < MAX_BATCH_CHARS and not self._queue.empty():
            completion = self._queue.get_nowait()
            if completion.key.token in self._busy:
                self._ahead = completion
                break
            batch.append(completion)
            size += _chars(completion)
        return batch

    async def _write_persistently(self, batch: Sequence[Completion]) -> None:
        pause_s = 0.25
        while True:
            try:
                # A commit under way is not interrupted by cancelling: what it stored could not be told.
                await asyncio.shield(asyncio.ensure_future(self.write(batch)))
            except Exception as exc:  # noqa: BLE001 -- whatever it is, the text must not be lost
                if _is_refusal(exc):
                    await self._write_apart(batch, exc)
                    return
                logger.warning("store_failed", kept=len(batch) + self._queue.qsize(), retry_s=pause_s, error=repr(exc)[:300])
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                return

    async def _write_apart(self, batch: Sequence[Completion], exc: Exception) -> None:
        """One of the batch cannot be stored as it is: find it, and store at least that it was so."""
        if len(batch) > 1:
            for completion in batch:
                await self._write_persistently([completion])
            return
        words = str(exc).splitlines()[0]
        logger.error("unstorable_completion", seed_id=batch[0].key.seed_id, error=words)
        if batch[0].lease.error_class != UNSTORABLE:  # else even that was refused; the lease goes back when nobody holds it
            await self._write_persistently([batch[0].refused(words)])

    async def write(self, batch: Sequence[Completion]) -> None:
        """One transaction. Safe to repeat: an attempt is stored once, and a lease moves once."""
        async with self._database.begin() as connection:
            # Later completions of one seed know more than earlier ones: the last word counts.
            current = await QueueRepository(connection).settle({completion.key: completion.lease for completion in batch})
            ours = [completion for completion in batch if completion.key.token in current]
            late = [_as_late(completion) for completion in batch if completion.key.token not in current]
            new = await insert_attempts(connection, [(c, c.attempt) for c in [*ours, *late] if c.attempt is not None])
            # A commit whose acknowledgement was lost is seen here: its attempts are not new, and so its samples are there.
            stored = [c for c in ours if name_of(c) in new]
            limited = await self._take_locks(connection, stored, [c for c in late if name_of(c) in new])
            fresh = await deduplicate(connection, stored, limited)
            kept = [(c, c.attempt, c.sample) for c in fresh if c.attempt is not None and c.sample is not None]
            ids = await insert_samples(connection, kept)
            await insert_keys(
                connection,
                [
                    (c.key.workspace_id, c.key.dataset_id, key, ids[name_of(c)])
                    for c, _, sample in kept
                    if sample.reject is None
                    for fingerprint in sample.fingerprints
                    for key in fingerprint.keys
                ],
            )
            accepted = Counter(_dataset(c) for c, _, sample in kept if sample.reject is None)
            spent = {dataset: count for dataset, count in accepted.items() if dataset in limited}
            await SpendingRepository(connection).accept(spent)
        self.stored.attempts += len(new)
        self.stored.accepted += accepted.total()
        self.stored.rejected += len(kept) - accepted.total()
        stale = sum(name_of(completion) in new for completion in late)
        if stale:
            self.stored.stale += stale
            logger.info("late_completions_fenced", count=stale)

    async def _take_locks(
        self, connection: AsyncConnection, stored: Sequence[Completion], late: Sequence[Completion]
    ) -> dict[DatasetId, int | None]:
        """Take the datasets' store locks, and count against their limits what these attempts used.

        All that could be done before is done: from here on other stores of the dataset may wait. Returns what
        `SpendingRepository.spend` does.
        """
        keys, spent = keys_of(stored), _spent([*stored, *late])
        for dataset in sorted(spent):  # one order for all, so that two stores never wait for each other
            await lock_dataset(connection, dataset, alone=bool(keys.get(dataset)))
        return await SpendingRepository(connection).spend(dict(sorted(spent.items()))) if spent else {}


def _less(counter: Counter[Any], key: object) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _chars(completion: Completion) -> int:
    sample, attempt = completion.sample, completion.attempt
    text = len(sample.response) + len(sample.reasoning or "") if sample else 0
    return text + min(len(attempt.raw or b""), MAX_RAW_BYTES) if attempt else text


def _dataset(completion: Completion) -> DatasetId:
    return completion.key.workspace_id, completion.key.dataset_id


def _spent(completions: Iterable[Completion]) -> dict[DatasetId, Spent]:
    """What these attempts add to each dataset's spending."""
    spent: dict[DatasetId, Spent] = {}
    for completion in completions:
        if completion.attempt is not None:
            each = spent.setdefault(_dataset(completion), Spent())
            each.attempts += 1
            each.tokens += completion.attempt.prompt_tokens + completion.attempt.completion_tokens
    return spent


def _is_refusal(exc: Exception) -> bool:
    """Did Postgres refuse the values themselves (SQLSTATE classes 22 and 23), as it would every time?"""
    return isinstance(exc, asyncpg.PostgresError) and str(exc.sqlstate)[:2] in ("22", "23")


def _as_late(completion: Completion) -> Completion:
    """A call that came back after its lease was gone: its tokens count, its answer changes nothing."""
    if completion.attempt is None:
        return completion
    words = "the lease was gone when the answer came; the seed belongs to a later attempt, or was cancelled"
    late = replace(completion.attempt, error_class=STALE, error_text=words)
    return replace(completion, attempt=late, sample=None)
