"""The guard of /v1: every call carries the admin key as a bearer token."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Unauthorized
from app.models.workspaces import DEFAULT_WORKSPACE

bearer = HTTPBearer(auto_error=False, description="The admin key: `Authorization: Bearer <key>`.")


async def workspace_of(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> int:
    """The workspace that the caller may act in.

    Raises:
        Unauthorized: no key, or not the key.
    """
    if credentials is None:
        raise Unauthorized
    given = credentials.credentials.encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(given, request.app.state.admin_key.encode()):
        msg = "That is not the admin key. `limbeck up` says where it is kept."
        raise Unauthorized(msg)
    return DEFAULT_WORKSPACE


WorkspaceId = Annotated[int, Depends(workspace_of)]
