"""GET /v1/datasets/{name}/export."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from app.access.guard import WorkspaceId
from app.exports.alpaca import MEDIA_TYPE
from app.exports.service import open_export
from app.problems import PROBLEMS

router = APIRouter(prefix="/v1/datasets/{name}", tags=["exports"], responses=PROBLEMS)
EXAMPLE = (
    '{"instruction": "…", "input": "", "output": "…", "reasoning": "…", "meta": {"sample_id": 1, "seed_id": 1, '
    '"teacher": "default", "recipe_hash": "sha256:…", "tokens": {"prompt": 31, "completion": 214}}}\n'
)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": EXAMPLE}}}},
)
async def export_accepted(
    request: Request,
    workspace_id: WorkspaceId,
    name: str,
    format: str = "alpaca",  # noqa: A002 -- the contract's name
) -> StreamingResponse:
    """Stream what is accepted now as JSONL.

    `Limbeck-Samples` says how many lines the whole has: fewer arrived means that the stream was cut.
    """
    export = await open_export(request.app.state.database, workspace_id, name, format)
    headers = {
        "Limbeck-Samples": str(export.samples),
        "Content-Disposition": f'attachment; filename="{name}.jsonl"',
    }
    return StreamingResponse(export.chunks, media_type=MEDIA_TYPE, headers=headers)
