"""/v1/datasets/{name}/samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from app.access.guard import WorkspaceId
from app.problems import PROBLEMS
from app.samples.schemas import SampleDetail, SamplePage, Verdict
from app.samples.service import SampleService

router = APIRouter(prefix="/v1/datasets/{name}/samples", tags=["samples"], responses=PROBLEMS)


def service_of(request: Request, workspace_id: WorkspaceId) -> SampleService:
    return SampleService(request.app.state.database, workspace_id)


Service = Annotated[SampleService, Depends(service_of)]


@router.get("")
async def list_samples(
    service: Service,
    name: str,
    verdict: Verdict | None = None,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    q: Annotated[str | None, Query(min_length=1, max_length=1000, description="Found in any of the texts.")] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> SamplePage:
    """A page of samples, oldest first; rejected ones carry their reason and their text."""
    return await service.page(name, cursor, limit, verdict=verdict, reason=reason, q=q)


@router.get("/{sample_id}")
async def get_sample(service: Service, name: str, sample_id: int) -> SampleDetail:
    """One sample with every attempt made for it, the teacher's raw replies included."""
    return await service.one(name, sample_id)
