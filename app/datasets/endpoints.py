"""/v1/datasets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response, status

from app.access.guard import WorkspaceId
from app.datasets.recipe import Recipe
from app.datasets.schemas import ChangeDataset, CreateDataset, DatasetList, DatasetView, Requeue, Requeued
from app.datasets.service import DatasetService
from app.problems import PROBLEMS

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], responses=PROBLEMS)


def service_of(request: Request, workspace_id: WorkspaceId) -> DatasetService:
    return DatasetService(request.app.state.database, request.app.state.teachers, workspace_id)


Service = Annotated[DatasetService, Depends(service_of)]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_dataset(service: Service, body: CreateDataset) -> DatasetView:
    """Make a dataset with its recipe. The answer shows the recipe with every default filled in."""
    return await service.create(body)


@router.get("")
async def list_datasets(
    service: Service, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> DatasetList:
    """A page of datasets, oldest first."""
    return await service.list(cursor, limit)


@router.get("/{name}")
async def get_dataset(service: Service, name: str) -> DatasetView:
    """Progress and funnel, all numbers of one instant."""
    return await service.get(name)


@router.patch("/{name}")
async def change_dataset(service: Service, name: str, body: ChangeDataset) -> DatasetView:
    """Change its weight, its target or its budget. A dataset that paused itself goes on when it is resumed."""
    return await service.change(name, body)


@router.put("/{name}/recipe")
async def change_recipe(service: Service, name: str, body: Recipe) -> DatasetView:
    """A new revision of the recipe, for all that is not yet done; what is stored keeps the revision that made it."""
    return await service.change_recipe(name, body)


@router.post("/{name}/pause")
async def pause_dataset(service: Service, name: str) -> DatasetView:
    """Stop within seconds: no more seeds are claimed, and calls in flight are hung up on and go back into the queue."""
    return await service.pause(name)


@router.post("/{name}/resume")
async def resume_dataset(service: Service, name: str) -> DatasetView:
    """Go on after a pause."""
    return await service.resume(name)


@router.post("/{name}/cancel")
async def cancel_dataset(service: Service, name: str) -> DatasetView:
    """Stop for good: seeds queued or leased are cancelled; what was accepted stays and can be exported."""
    return await service.cancel(name)


@router.post("/{name}/requeue")
async def requeue_failed(service: Service, name: str, body: Requeue | None = None) -> Requeued:
    """Queue failed seeds again, all of them or those of one error class."""
    return Requeued(requeued=await service.requeue(name, body.error_class if body else None))


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, response_class=Response)
async def delete_dataset(service: Service, name: str) -> None:
    """Delete the dataset with its seeds, attempts and samples."""
    await service.delete(name)
