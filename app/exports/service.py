"""Streaming what is accepted now: bounded once, then pages by key; constant memory, short transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import orjson
from sqlalchemy import RowMapping

from app.database import Database
from app.datasets.repository import DatasetRepository, DatasetRow
from app.datasets.service import find_dataset
from app.errors import InvalidInput
from app.exports import alpaca
from app.samples.repository import SampleRepository

PAGE = 1000
FORMATS: dict[str, Callable[[RowMapping], dict[str, object]]] = {"alpaca": alpaca.line}


@dataclass(frozen=True, slots=True)
class Export:
    """`samples` is how many lines `chunks` will give; fewer means that it was cut."""

    samples: int
    chunks: AsyncIterator[bytes]


async def open_export(database: Database, workspace_id: int, name: str, format_name: str) -> Export:
    """Begin an export of what is accepted at this instant.

    Raises:
        InvalidInput: no such format. NotFound: no such dataset.
    """
    render = FORMATS.get(format_name)
    if render is None:
        msg = f"There is no export format {format_name!r}; known: {', '.join(sorted(FORMATS))}."
        raise InvalidInput(msg)
    async with database.begin() as connection:
        dataset = await find_dataset(DatasetRepository(connection), workspace_id, name)
        count, last_id = await SampleRepository(connection, workspace_id, dataset.dataset_id).bound_export()
    return Export(count, _lines(database, dataset, last_id, render))


async def _lines(
    database: Database, dataset: DatasetRow, last_id: int, render: Callable[[RowMapping], dict[str, object]]
) -> AsyncIterator[bytes]:
    """A page a transaction: a client that reads slowly holds no connection and no snapshot."""
    after = 0
    while True:
        async with database.begin() as connection:
            repository = SampleRepository(connection, dataset.workspace_id, dataset.dataset_id)
            rows = await repository.accepted(after, last_id, PAGE)
        if not rows:
            return
        yield b"".join(orjson.dumps(render(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        after = rows[-1]["sample_id"]
