"""Completions into Postgres: batched, one short transaction each, fenced by the lease token."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from app.database import Database
from app.datasets.spending import DatasetId, SpendingRepository, Spent
from app.logs import get_logger
from app.queue.repository import QueueRepository
from app.queue.states import LeaseKey, LeaseUpdate
from workers.completion import MAX_RAW_BYTES, UNSTORABLE, Completion
from workers.stages.deduplicate import deduplicate
from workers.stages.records import SampleKey, insert_attempts, insert_keys, insert_samples, lock_dataset

logger = get_logger(__name__)
BATCH = 100
LINGER_S = 0.02
LONGEST_PAUSE_S = 5.0
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
        self._unwritten: Counter[UUID] = Counter()
        self.stored = Stored()

    async def put(self, completion: Completion) -> None:
        """Hand over one completion; waits while too many are unwritten."""
        self._unwritten[completion.key.token] += 1
        await self._queue.put(completion)

    def unwritten(self) -> set[UUID]:
        """The tokens of leases with a completion that is not written yet."""
        return set(self._unwritten)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            batch = await self._gather()
            await self._write_persistently(batch)
            for completion in batch:
                self._queue.task_done()
                self._unwritten -= Counter([completion.key.token])

    async def flush(self) -> None:
        """Wait until all that was put is written."""
        await self._queue.join()

    async def _gather(self) -> list[Completion]:
        batch = [await self._queue.get()]
        if self._queue.qsize() < BATCH - 1:
            await asyncio.sleep(LINGER_S)
        size = _chars(batch[0])
        while len(batch) < BATCH and size < MAX_BATCH_CHARS and not self._queue.empty():
            batch.append(self._queue.get_nowait())
            size += _chars(batch[-1])
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
        words = str(getattr(exc, "orig", exc)).splitlines()[0].rsplit(">: ")[-1]
        logger.error("unstorable_completion", seed_id=batch[0].key.seed_id, error=words)
        if batch[0].lease.error_class != UNSTORABLE:  # else even that was refused; the lease goes back when nobody holds it
            await self._write_persistently([batch[0].refused(words)])

    async def write(self, batch: Sequence[Completion]) -> None:
        """One transaction. Safe to repeat: an attempt is stored once, and a lease moves once."""
        async with self._database.begin() as connection:
            queue = QueueRepository(connection)
            current = await queue.lock_current(completion.key for completion in batch)
            ours = [completion for completion in batch if completion.key in current]
            late = [_as_late(completion) for completion in batch if completion.key not in current]
            new = await insert_attempts(connection, [(c, c.attempt) for c in [*ours, *late] if c.attempt is not None])
            # A commit whose acknowledgement was lost is seen here: its attempts are not new, and so its samples are there.
            spent = _spent(c for c in [*ours, *late] if _name(c) in new)
            for dataset in sorted(spent):  # one order for all, so that two stores never wait for each other
                await lock_dataset(connection, *dataset)  # also without samples: exports and spending rely on it
            spending = SpendingRepository(connection)
            limited = await spending.spend(spent) if spent else {}
            fresh = await deduplicate(connection, [c for c in ours if _name(c) in new], limited)
            kept = [(c, c.attempt, c.sample) for c in fresh if c.attempt is not None and c.sample is not None]
            ids = await insert_samples(connection, kept)
            await insert_keys(
                connection,
                [
                    (c.key.workspace_id, c.key.dataset_id, key, ids[_name(c)])
                    for c, _, sample in kept
                    if sample.reject is None
                    for fingerprint in sample.fingerprints
                    for key in fingerprint.keys
                ],
            )
            accepted = Counter(_dataset(c) for c, _, sample in kept if sample.reject is None)
            await spending.accept({dataset: count for dataset, count in accepted.items() if dataset in limited})
            # Later completions of one seed know more than earlier ones: the last word counts.
            updates: dict[LeaseKey, LeaseUpdate] = {completion.key: completion.lease for completion in ours}
            await queue.update(updates)
        self.stored.attempts += len(new)
        self.stored.accepted += accepted.total()
        self.stored.rejected += len(kept) - accepted.total()
        stale = sum(_name(completion) in new for completion in late)
        if stale:
            self.stored.stale += stale
            logger.info("late_completions_fenced", count=stale)


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


def _name(completion: Completion) -> SampleKey:
    return completion.key.seed_id, completion.key.token, completion.sample_index


def _is_refusal(exc: Exception) -> bool:
    """Did Postgres refuse the values themselves (SQLSTATE classes 22 and 23), as it would every time?"""
    return isinstance(exc, DBAPIError) and str(getattr(exc.orig, "sqlstate", ""))[:2] in ("22", "23")


def _as_late(completion: Completion) -> Completion:
    """A call that came back after its lease was gone: its tokens count, its answer changes nothing."""
    if completion.attempt is None:
        return completion
    words = "the lease was gone when the answer came; the seed belongs to a later attempt, or was cancelled"
    late = replace(completion.attempt, error_class="stale_lease", error_text=words)
    return replace(completion, attempt=late, sample=None)
