"""The guard of /v1: every call carries the admin key as a bearer token."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Unauthorized
from app.models.workspaces import DEFAULT_WORKSPACE
from app.problems import problem

bearer = HTTPBearer(auto_error=False, description="The admin key: `Authorization: Bearer <key>`.")


class Guard:
    """ASGI middleware: nothing of a request to /v1 is read, not even its body, before its key is known to be right."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1"):
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            error = refusal(scheme, given.strip(), scope["app"].state.admin_key)
            if error is not None:
                await problem(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def refusal(scheme: str, given: str, key: str) -> Unauthorized | None:
    """Why these credentials do not open the door, or None if they do."""
    if scheme.lower() != "bearer" or not given:
        return Unauthorized()
    if not hmac.compare_digest(given.encode("latin-1", "replace"), key.encode()):
        return Unauthorized("That is not the admin key. `limbeck up` says where it is kept.")
    return None


async def workspace_of(_credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> int:
    """The workspace that the caller may act in; `Guard` has let it in."""
    return DEFAULT_WORKSPACE


WorkspaceId = Annotated[int, Depends(workspace_of)]
