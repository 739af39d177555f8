"""create_app(): the API's composition root: lifespan, routers, error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app import __version__, health, metrics, problems
from app.access.guard import Guard
from app.access.keys import read_admin_key
from app.database import Database, resolve_dsn
from app.datasets.endpoints import router as datasets
from app.exports.endpoints import router as exports
from app.limits import BodyLimit
from app.samples.endpoints import router as samples
from app.seeds.endpoints import router as seeds
from app.seeds.storing import Turns
from app.settings import Settings
from app.teachers.config import load_teachers
from app.teachers.endpoints import router as teachers

DESCRIPTION = """Seeds in, a teacher's curated answers out. Every call under `/v1` carries
`Authorization: Bearer <admin key>`; errors are RFC 9457 problem details."""


def create_app(settings: Settings, *, dsn: str | None = None) -> FastAPI:
    """The API. `dsn` saves resolving the database again when the caller has done it.

    Raises:
        ConfigurationError: no admin key, or teachers that do not load.
    """

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        api.state.database = Database(dsn or await resolve_dsn(settings), pool_size=16, application_name="limbeck-api")
        yield
        await api.state.database.close()

    # The interactive docs load scripts from a CDN; nothing of Limbeck's leaves the network.
    api = FastAPI(
        title="Limbeck", version=__version__, description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    api.state.admin_key = read_admin_key(settings)
    api.state.teachers = load_teachers(settings)
    api.state.turns = Turns()
    for router in (datasets, seeds, samples, exports, teachers, health.router, metrics.router):
        api.include_router(router)
    problems.install(api)
    api.add_middleware(BodyLimit)
    api.add_middleware(Guard)  # the last one added is the first to see a request
    openapi = api.openapi

    def described() -> dict[str, Any]:
        return problems.describe(openapi())

    api.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return api
