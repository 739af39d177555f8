"""Streaming what is accepted now: one snapshot, pages by key, constant memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import orjson
from sqlalchemy import RowMapping

from app.database import Database
from app.datasets.repository import DatasetRepository
from app.datasets.service import find_dataset
from app.errors import InvalidInput
from app.exports import alpaca
from app.samples.repository import SampleRepository

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
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(database.snapshot())
        dataset = await find_dataset(DatasetRepository(connection), workspace_id, name)
        repository = SampleRepository(connection, workspace_id, dataset.dataset_id)
        count = await repository.count_accepted()
        held = stack.pop_all()
    return Export(count, _lines(repository, render, held))


async def _lines(
    repository: SampleRepository, render: Callable[[RowMapping], dict[str, object]], held: AsyncExitStack
) -> AsyncIterator[bytes]:
    async with held:
        async for rows in repository.accepted():
            yield b"".join(orjson.dumps(render(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
