"""Errors over HTTP: RFC 9457 problem details, and never a traceback."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import asyncpg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from app.errors import FieldError, InvalidInput, LimbeckError, NotReady
from app.logs import get_logger

logger = get_logger(__name__)
# SQLSTATE classes: connection, transaction rollback, resources, operator intervention, system, failed login.
PASSING_STATES = ("08", "40", "53", "57", "58", "28")
UNDEFINED_TABLE = "42P01"


class ProblemError(BaseModel):
    line: int | None
    field: str | None
    error: str


class Problem(BaseModel):
    """RFC 9457; `errors` for input errors."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {
        "description": HTTPStatus(code).phrase,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code in (401, 404, 409, 422, 503)
}


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the Problem schema, which PROBLEMS refers to, into an OpenAPI document; FastAPI's own error schema goes."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    definition = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(definition.pop("$defs", {}))
    schemas["Problem"] = definition
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return schema


def problem(error: LimbeckError, headers: dict[str, str] | None = None) -> Response:
    """The response for one of our own errors."""
    status = error.status
    body = {
        "type": f"urn:limbeck:problem:{error.slug}",
        "title": status.phrase,
        "status": int(status),
        "detail": error.detail,
        **error.extensions(),
    }
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": "2", **(headers or {})}
    return JSONResponse(_encodable(body), status_code=int(status), media_type="application/problem+json", headers=headers)


def install(app: FastAPI) -> None:
    """Register a handler for everything that can be raised while a request is answered."""
    app.add_exception_handler(LimbeckError, _limbeck)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    for database_error in (DBAPIError, InterfaceError, OperationalError, PoolTimeoutError, OSError, asyncpg.PostgresError):
        app.add_exception_handler(database_error, _database)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


async def _limbeck(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, LimbeckError)  # noqa: S101 -- registered for it
    return problem(exc)


async def _validation(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101 -- registered for it
    errors = [FieldError(error=_words(error), field=_field(error)) for error in exc.errors()]
    detail = "; ".join(f"{error.field}: {error.error}" if error.field else error.error for error in errors[:5])
    return problem(InvalidInput(detail, errors))


def _field(error: Any) -> str | None:  # noqa: ANN401 -- pydantic's error dict
    parts = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    # A union's tag stands in the path between the list index and the option; the user never wrote it.
    return ".".join(parts) or None


def _words(error: Any) -> str:  # noqa: ANN401
    kind = error["type"]
    if kind == "extra_forbidden":
        return "unknown field: remove it or correct its name"
    if kind == "union_tag_invalid":
        return f"there is no check {error['ctx']['tag']!r}; known: {error['ctx']['expected_tags']}"
    if kind == "union_tag_not_found":
        return 'a curation entry names its check: {"check": "length", …}'
    if kind == "json_invalid":
        return f"the body is not JSON: {error.get('ctx', {}).get('error', error['msg'])}"
    return str(error["msg"]).removeprefix("Value error, ")


async def _http(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101 -- registered for it
    status = HTTPStatus(exc.status_code)
    body = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": str(exc.detail)}
    return JSONResponse(_encodable(body), status_code=int(status), media_type="application/problem+json", headers=exc.headers)


async def _database(request: Request, exc: Exception) -> Response:
    state = str(getattr(getattr(exc, "orig", exc), "sqlstate", None) or "")
    words = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
    if state == UNDEFINED_TABLE:
        return problem(NotReady("The database is not migrated: run `limbeck migrate`."))
    if state and not state.startswith(PASSING_STATES):
        logger.error("database_refused", path=request.url.path, error=words)
        return problem(LimbeckError("Something unexpected went wrong; the server's log has the details."))
    logger.warning("database_unavailable", path=request.url.path, error=words)
    return problem(NotReady("The database does not answer now. Try again shortly: seeds that are sent twice are stored once."))


async def _gone(request: Request, _exc: Exception) -> Response:
    logger.info("client_went_away", path=request.url.path)
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _unexpected(request: Request, exc: Exception) -> Response:
    logger.error("unexpected_error", path=request.url.path, exc_info=exc)
    return problem(LimbeckError("Something unexpected went wrong; the server's log has the details."))


def _encodable(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    """Text from outside may hold lone surrogates, which no JSON encoder writes as UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _encodable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_encodable(entry) for entry in value]
    return value
