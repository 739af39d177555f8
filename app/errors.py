"""Every error that Limbeck raises on purpose.

LimbeckError                 500
├── InvalidInput             422  carries [{line, field, error}]
├── Unauthorized             401
├── NotFound                 404
├── Conflict                 409
├── PayloadTooLarge          413
├── UnsupportedMedia         415
├── NotReady                 503
└── ConfigurationError       (never over HTTP: the process does not start)
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with an input: where it stands, and what to do about it.

    `line` counts from 1 and is None where the input has no lines.
    """

    error: str
    field: str | None = None
    line: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "field": self.field, "error": self.error}


class LimbeckError(Exception):
    """Something went wrong inside Limbeck."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    slug: ClassVar[str] = "internal"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        super().__init__(self.detail)

    def extensions(self) -> dict[str, Any]:
        """Members that the problem detail carries besides the standard ones (RFC 9457, 3.2)."""
        return {}


class InvalidInput(LimbeckError):
    """The input does not validate."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    slug = "invalid-input"

    def __init__(
        self,
        detail: str | None = None,
        errors: list[FieldError] | None = None,
        **extra: Any,  # noqa: ANN401  -- extension members are any JSON
    ) -> None:
        super().__init__(detail)
        self.errors = errors or []
        self.extra = extra

    def extensions(self) -> dict[str, Any]:
        return {"errors": [error.as_dict() for error in self.errors], **self.extra}


class Unauthorized(LimbeckError):
    """Send the admin key as `Authorization: Bearer <key>`."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "unauthorized"


class NotFound(LimbeckError):
    """There is no such thing here."""

    status = HTTPStatus.NOT_FOUND
    slug = "not-found"


class Conflict(LimbeckError):
    """The request does not fit the present state."""

    status = HTTPStatus.CONFLICT
    slug = "conflict"


class PayloadTooLarge(LimbeckError):
    """The body is larger than this endpoint takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    slug = "too-large"


class UnsupportedMedia(LimbeckError):
    """This endpoint does not take that content type or encoding."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    slug = "unsupported-media"


class NotReady(LimbeckError):
    """The service cannot answer now; try again shortly."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    slug = "not-ready"


class ConfigurationError(LimbeckError):
    """The configuration does not work; the message says which setting and how to mend it."""

    slug = "configuration"
