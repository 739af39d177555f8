"""/healthz: this process answers. /readyz: it can do its work: the database is there and migrated."""

from __future__ import annotations

from fastapi import APIRouter, Request
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.errors import NotReady
from app.migrate import newest_revision

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Alive. Needs no key and touches nothing."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Ready to serve. Needs no key."""
    try:
        async with request.app.state.database.begin() as connection:
            revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    except ProgrammingError:
        revision = None
    if revision != newest_revision():
        msg = f"The database's schema is at {revision or 'nothing'}, this release needs {newest_revision()}: run `limbeck migrate`."
        raise NotReady(msg)
    return {"status": "ready"}
