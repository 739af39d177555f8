"""POST /v1/datasets/{name}/seeds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, status

from app.access.guard import WorkspaceId
from app.errors import FieldError, InvalidInput, UnsupportedMedia
from app.problems import PROBLEMS
from app.seeds.body import Body
from app.seeds.document import split_document
from app.seeds.ndjson import split_lines
from app.seeds.schemas import UploadAnswer
from app.seeds.service import SeedService

router = APIRouter(prefix="/v1/datasets/{name}", tags=["seeds"], responses=PROBLEMS)

NDJSON = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines"}
EXAMPLE = {"instruction": "Explain photosynthesis to a ten-year-old.", "input": "", "metadata": {"topic": "biology"}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["seeds"],
                    "properties": {"seeds": {"type": "array", "items": {"type": "object"}}},
                },
                "example": {"seeds": [EXAMPLE]},
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "One seed a line; Content-Encoding: gzip is taken."},
                "example": '{"instruction": "Name three primary colours."}\n{"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"}\n',
            },
        },
    }
}


@router.post("/seeds", status_code=status.HTTP_202_ACCEPTED, openapi_extra=BODY)
async def push_seeds(
    request: Request,
    workspace_id: WorkspaceId,
    name: str,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> UploadAnswer:
    """Queue seeds: each line is checked by itself, good ones are kept, bad ones are named.

    Takes Alpaca's fields (`instruction`, `input`, `output`) and self-instruct's `instances`. The same
    instruction and input are stored once a dataset. Answers 422 only when not one seed could be taken.
    """
    content_type = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if content_type == "application/json":
        body = Body(request, split_document)
    elif content_type in NDJSON:
        body = Body(request, split_lines)
    else:
        msg = (
            f"Content-Type {content_type!r} is not taken here; send application/x-ndjson (one seed a line) or application/json."
        )
        raise UnsupportedMedia(msg)
    state = request.app.state
    answer, good = await SeedService(state.database, state.turns, workspace_id).take(name, body, idempotency_key)
    if not good:
        raise _all_rejected(answer)
    return UploadAnswer.model_validate(answer)


def _all_rejected(answer: dict[str, Any]) -> InvalidInput:
    errors = [FieldError(**error) for error in answer["rejected"]]
    counts = {key: value for key, value in answer.items() if key != "rejected"}
    return InvalidInput("Not one seed could be taken; `errors` says why, line by line.", errors, **counts)
