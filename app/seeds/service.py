"""Taking seeds in: batches are stored as they arrive, and the answer counts what became of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.database import Database
from app.datasets.repository import DatasetRepository, DatasetRow
from app.datasets.service import find_dataset
from app.errors import Conflict, FieldError, InvalidInput
from app.seeds.body import Body
from app.seeds.parse import ParsedSeed, RawItem, parse_item
from app.seeds.repository import EarlierUpload, SeedRepository
from app.seeds.storing import Overlap, Turns

# Two batches are held: one being stored, one being read.
BATCH_SEEDS = 2000
BATCH_CHARS = 4 * 1024 * 1024
# A batch that fills slowly is stored all the same: its seeds are wanted, and the upload's key must not lapse (BUSY_S).
BATCH_AGE_S = 5.0
# Other requests get their turn this often, whatever a body holds.
BREATH_LINES = 500
SHOWN_REJECTS = 1000
MAX_KEY_CHARS = 255


@dataclass
class Tally:
    """What became of an upload's seeds."""

    lines: int = 0
    broken: bool = False
    queued: int = 0
    duplicates: int = 0
    rejected_total: int = 0
    rejected: list[FieldError] = field(default_factory=list)

    def reject(self, error: FieldError) -> None:
        self.rejected_total += 1
        if len(self.rejected) < SHOWN_REJECTS:
            self.rejected.append(error)

    def as_dict(self) -> dict[str, Any]:
        return {
            "lines": self.lines,
            "received": self.queued + self.duplicates + self.rejected_total,
            "queued": self.queued,
            "duplicates": self.duplicates,
            "rejected_total": self.rejected_total,
            "rejected": [error.as_dict() for error in self.rejected],
        }


@dataclass(slots=True)
class Batch:
    """Seeds that will be stored together."""

    seeds: list[ParsedSeed] = field(default_factory=list)
    chars: int = 0
    since: float = field(default_factory=time.monotonic)

    def add(self, seed: ParsedSeed) -> None:
        self.seeds.append(seed)
        self.chars += seed.chars()

    def is_full(self) -> bool:
        return len(self.seeds) >= BATCH_SEEDS or self.chars > BATCH_CHARS

    def is_due(self) -> bool:
        """Has it been long enough in the making?"""
        return bool(self.seeds) and time.monotonic() - self.since > BATCH_AGE_S


@dataclass(frozen=True, slots=True)
class Upload:
    """One POST: resumed when an earlier one with the same key was cut off."""

    upload_id: int
    resumed: bool


class SeedService:
    """Seeds into one dataset. No transaction spans the body, so a slow client holds no connection."""

    def __init__(self, database: Database, turns: Turns, workspace_id: int) -> None:
        self._database = database
        self._turns = turns
        self._workspace_id = workspace_id

    async def take(self, name: str, body: Body, idempotency_key: str | None) -> tuple[dict[str, Any], bool]:
        """Store all seeds of the body; (the answer, whether any of them was good).

        Raises:
            NotFound: no such dataset. Conflict: it is cancelled, or the key's first POST is still being read.
            InvalidInput: the body as a whole is not what it should be, or the key came with another body.
        """
        if idempotency_key is not None and not (0 < len(idempotency_key) <= MAX_KEY_CHARS and idempotency_key.isprintable()):
            msg = f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} printable characters."
            raise InvalidInput(msg)
        async with self._database.begin() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name)
            if dataset.state == "cancelled":
                raise _cancelled(name)
            upload, earlier = await _open(SeedRepository(connection, self._workspace_id, dataset.dataset_id), idempotency_key)
        if earlier is not None:
            return await _repeat(earlier, body)
        tally = Tally()
        try:
            damage = await self._take_all(dataset, upload, body.items(), tally)
        finally:
            # Whatever ended the reading: the same key may come again at once.
            async with self._database.begin() as connection:
                await SeedRepository(connection, self._workspace_id, dataset.dataset_id).touch_upload(upload.upload_id, 0)
        if damage is not None:
            # Left open: the same key sent again goes on where this body broke off.
            if not tally.queued and not tally.duplicates:
                raise damage
            tally.reject(FieldError(error=damage.detail))
            return tally.as_dict(), True
        answer = tally.as_dict()
        if not tally.broken:
            async with self._database.begin() as connection:
                repository = SeedRepository(connection, self._workspace_id, dataset.dataset_id)
                await repository.close_upload(upload.upload_id, 202 if is_good(answer) else 422, answer, body.digest())
        return answer, is_good(answer)

    async def _take_all(
        self, dataset: DatasetRow, upload: Upload, batches: AsyncIterator[list[RawItem]], tally: Tally
    ) -> InvalidInput | None:
        """Store batch by batch; returns what broke the body off, once all before it is stored."""
        batch = Batch()
        damage = None

        async def store_batch() -> None:
            nonlocal batch
            full, batch = batch, Batch()
            await storing.start(partial(self._store, dataset, upload, full.seeds, tally))

        async with Overlap() as storing:
            try:
                async for items in batches:
                    await storing.check()
                    for item in items:
                        tally.lines += 1
                        tally.broken = tally.broken or item.broken is not None
                        if tally.lines % BREATH_LINES == 0:
                            await asyncio.sleep(0)
                        for parsed in parse_item(item):
                            if isinstance(parsed, FieldError):
                                tally.reject(parsed)
                                continue
                            batch.add(parsed)
                            if batch.is_full():
                                await store_batch()
                    if batch.is_due():
                        await store_batch()
            except InvalidInput as exc:
                damage = exc
            if batch.seeds:
                await store_batch()
        return damage

    async def _store(self, dataset: DatasetRow, upload: Upload, seeds: list[ParsedSeed], tally: Tally) -> None:
        async with self._turns.of(dataset.dataset_id), self._database.begin() as connection:
            repository = SeedRepository(connection, self._workspace_id, dataset.dataset_id)
            await repository.touch_upload(upload.upload_id)
            before = await repository.stored_before(upload.upload_id, seeds) if upload.resumed else 0
            queued = await repository.enqueue(upload.upload_id, seeds)
            if queued is None:
                raise _cancelled(dataset.name)
        tally.queued += queued + before
        tally.duplicates += len(seeds) - queued - before


def is_good(answer: dict[str, Any]) -> bool:
    """Could anything of it be taken? An empty body is not an error."""
    return bool(answer["queued"] or answer["duplicates"] or not answer["received"])


async def _open(repository: SeedRepository, key: str | None) -> tuple[Upload, EarlierUpload | None]:
    upload_id = await repository.open_upload(key)
    earlier = None
    if upload_id is None:
        assert key is not None, "an upload without a key is always new"  # noqa: S101
        earlier = await repository.find_upload(key)
        upload_id = earlier.upload_id
        if earlier.busy and earlier.answer is None:
            msg = f"A POST with Idempotency-Key {key!r} is being read now; wait for its answer, then repeat."
            raise Conflict(msg)
    await repository.touch_upload(upload_id)
    finished = earlier if earlier is not None and earlier.answer is not None else None
    return Upload(upload_id, resumed=earlier is not None), finished


async def _repeat(earlier: EarlierUpload, body: Body) -> tuple[dict[str, Any], bool]:
    """The first answer, if it was for this very body (draft-ietf-httpapi-idempotency-key-header, 2.6)."""
    await body.drain()
    if body.digest() != earlier.digest:
        msg = "This Idempotency-Key was used with another body; choose a new key for these seeds."
        raise InvalidInput(msg)
    assert earlier.answer is not None, "only finished uploads are repeated"  # noqa: S101
    return earlier.answer, is_good(earlier.answer)


def _cancelled(name: str) -> Conflict:
    return Conflict(f"Dataset {name!r} is cancelled and takes no more seeds; make a new one.")
