"""Reading samples."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import RowMapping

from app.database import Database
from app.datasets.repository import DatasetRepository
from app.datasets.service import find_dataset, parse_cursor
from app.errors import InvalidInput, NotFound
from app.samples.repository import SampleRepository
from app.samples.schemas import AttemptView, SampleDetail, SamplePage, SampleView, Verdict

MAX_ID = 2**63 - 1


class SampleService:
    """Each method reads one snapshot."""

    def __init__(self, database: Database, workspace_id: int) -> None:
        self._database = database
        self._workspace_id = workspace_id

    async def page(
        self, name: str, cursor: str | None, size: int, *, verdict: Verdict | None, reason: str | None, q: str | None
    ) -> SamplePage:
        """A page of samples by age.

        Raises:
            NotFound: no such dataset. InvalidInput: a filter that no text can match.
        """
        after = parse_cursor(cursor)
        for field, value in (("reason", reason), ("q", q)):
            if value is not None and "\0" in value:
                msg = f"`{field}` contains a NUL character (U+0000), which no stored text has."
                raise InvalidInput(msg)
        async with self._database.snapshot() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name)
            repository = SampleRepository(connection, self._workspace_id, dataset.dataset_id)
            rows = await repository.page(after, size, verdict=verdict, reason=reason, q=q)
        more = str(rows[-1]["sample_id"]) if len(rows) == size else None
        return SamplePage(samples=[SampleView.model_validate(_flat(row)) for row in rows], next_cursor=more)

    async def one(self, name: str, sample_id: int) -> SampleDetail:
        """One sample, with every attempt made for it.

        Raises:
            NotFound: no such dataset or sample.
        """
        async with self._database.snapshot() as connection:
            dataset = await find_dataset(DatasetRepository(connection), self._workspace_id, name)
            repository = SampleRepository(connection, self._workspace_id, dataset.dataset_id)
            row = await repository.one(sample_id) if 0 < sample_id <= MAX_ID else None
            if row is None:
                msg = f"There is no sample {sample_id} in dataset {name!r}."
                raise NotFound(msg)
            attempts = await repository.attempts(row["seed_id"], row["sample_index"])
        fields = _flat(row)
        fields["metadata"] = orjson.loads(row["metadata"]) if row["metadata"] else {}
        fields["attempts"] = [AttemptView.model_validate(_flat_attempt(attempt)) for attempt in attempts]
        return SampleDetail.model_validate(fields)


def _flat(row: RowMapping) -> dict[str, Any]:
    return {**row, "tokens": {"prompt": row["prompt_tokens"], "completion": row["completion_tokens"]}}


def _flat_attempt(row: RowMapping) -> dict[str, Any]:
    raw = row["raw"]
    return {**_flat(row), "raw": None if raw is None else bytes(raw).decode("utf-8", "replace")}
