"""Taking seeds in: batches are stored as they arrive, and the answer counts what became of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from app.database import Database
from app.datasets.repository import DatasetRepository, DatasetRow
from app.datasets.service import find_dataset
from app.errors import Conflict, FieldError, InvalidInput
from app.seeds.parse import ParsedSeed, RawItem, parse_item
from app.seeds.repository import SeedRepository

BATCH_SEEDS = 1000
BATCH_CHARS = 8 * 1024 * 1024
SHOWN_REJECTS = 1000
MAX_KEY_CHARS = 255


@dataclass
class Tally:
    """What became of an upload's seeds."""

    lines: int = 0
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


@dataclass(frozen=True, slots=True)
class Upload:
    """One POST: resumed when an earlier one with the same key was cut off."""

    upload_id: int
    resumed: bool


class SeedService:
    """Seeds into one dataset. No transaction spans the body, so a slow client holds no connection."""

    def __init__(self, database: Database, workspace_id: int) -> None:
        self._database = database
        self._workspace_id = workspace_id

    async def take(
        self, name: str, batches: AsyncIterator[list[RawItem]], idempotency_key: str | None
    ) -> tuple[dict[str, Any], bool]:
        """Store all seeds of the body; (the answer, whether any of them was good).

        Raises:
            NotFound: no such dataset. Conflict: it is cancelled.
            InvalidInput: the body as a whole is not what it should be, or the key is not usable.
        """
        if idempotency_key is not None and not (0 < len(idempotency_key) <= MAX_KEY_CHARS and idempotency_key.isprintable()):
            msg = f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} printable characters."
            raise InvalidInput(msg)
        async with self._database.begin() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name)
            if dataset.state == "cancelled":
                raise _cancelled(name)
            upload, answer = await self._open(
                SeedRepository(connection, self._workspace_id, dataset.dataset_id), idempotency_key
            )
        if answer is not None:
            return answer, bool(answer["queued"] or answer["duplicates"] or not answer["received"])
        tally = Tally()
        damage = await self._take_all(dataset, upload, batches, tally)
        if damage is not None:
            # Left open: the same key sent again goes on where this body broke off.
            if not tally.queued and not tally.duplicates:
                raise damage
            tally.reject(FieldError(error=damage.detail))
            return tally.as_dict(), True
        answer = tally.as_dict()
        good = bool(tally.queued or tally.duplicates or not answer["received"])
        async with self._database.begin() as connection:
            repository = SeedRepository(connection, self._workspace_id, dataset.dataset_id)
            await repository.close_upload(upload.upload_id, 202 if good else 422, answer)
        return answer, good

    async def _take_all(
        self, dataset: DatasetRow, upload: Upload, batches: AsyncIterator[list[RawItem]], tally: Tally
    ) -> InvalidInput | None:
        """Store batch by batch; returns what broke the body off, once all before it is stored."""
        pending: list[ParsedSeed] = []
        chars = 0
        damage = None
        try:
            async for items in batches:
                for item in items:
                    tally.lines += 1
                    for parsed in parse_item(item):
                        if isinstance(parsed, FieldError):
                            tally.reject(parsed)
                            continue
                        pending.append(parsed)
                        chars += len(parsed.instruction) + len(parsed.input)
                    if len(pending) >= BATCH_SEEDS or chars > BATCH_CHARS:
                        await self._store(dataset, upload, pending, tally)
                        pending, chars = [], 0
        except InvalidInput as exc:
            damage = exc
        if pending:
            await self._store(dataset, upload, pending, tally)
        return damage

    async def _open(self, repository: SeedRepository, key: str | None) -> tuple[Upload, dict[str, Any] | None]:
        upload_id = await repository.open_upload(key)
        if upload_id is not None or key is None:
            assert upload_id is not None, "an upload without a key is always new"  # noqa: S101
            return Upload(upload_id, resumed=False), None
        found, _, answer = await repository.find_upload(key)
        return Upload(found, resumed=True), answer

    async def _store(self, dataset: DatasetRow, upload: Upload, seeds: list[ParsedSeed], tally: Tally) -> None:
        async with self._database.begin() as connection:
            repository = SeedRepository(connection, self._workspace_id, dataset.dataset_id)
            before = await repository.stored_before(upload.upload_id, seeds) if upload.resumed else 0
            queued = await repository.enqueue(upload.upload_id, seeds)
            if queued is None:
                raise _cancelled(dataset.name)
        tally.queued += queued + before
        tally.duplicates += len(seeds) - queued - before


def _cancelled(name: str) -> Conflict:
    return Conflict(f"Dataset {name!r} is cancelled and takes no more seeds; make a new one.")
