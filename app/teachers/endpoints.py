"""/v1/teachers: which there are, how busy each is kept, and what ails it."""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.access.guard import WorkspaceId
from app.database import Database
from app.problems import PROBLEMS
from app.teachers.config import Teachers, shown_url
from app.teachers.repository import TeacherStatusRepository, combine
from app.teachers.schemas import ReplicaView, TeacherList, TeacherView

router = APIRouter(prefix="/v1/teachers", tags=["teachers"], responses=PROBLEMS)


@router.get("")
async def list_teachers(request: Request, _workspace_id: WorkspaceId) -> TeacherList:
    """Every configured teacher with its replicas, as the workers that are alive last told."""
    database: Database = request.app.state.database
    teachers: Teachers = request.app.state.teachers
    async with database.begin() as connection:
        workers = await TeacherStatusRepository(connection).workers()
    views = []
    for name, teacher in sorted(teachers.by_name.items()):
        told = [(w.name, replica) for w in workers for replica in w.teachers.get(name, {}).get("replicas", [])]
        seen = combine([replica for _, replica in told])
        views.append(
            TeacherView(
                name=name,
                model=teacher.model,
                licence=teacher.licence,
                reasoning=teacher.reasoning,
                urls=[shown_url(url) for url in teacher.urls],
                level=seen.level,
                in_flight=seen.in_flight,
                prefix_cache_hit_rate=seen.prefix_cache_hit_rate,
                faults=list(seen.faults),
                replicas=[ReplicaView(worker=worker, **replica) for worker, replica in told],
            )
        )
    return TeacherList(teachers=views)
