"""Refusals and HTTP errors, worded as vLLM 0.32 words them (entrypoints/serve/exception_handling).

Three shapes, and a client meets all of them:
- `{"error": {"message", "type", "param", "code"}}`: what vLLM itself raises;
- `{"error": "Unauthorized"}`: the API key middleware, where `error` is a string;
- `{"detail": …}`: what Starlette raises before vLLM's handlers (unknown path, a body not UTF-8).
Releases before the first shape wrote it flat, with `"object": "error"` (`error_shape="flat"`).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web

from bench.simulated_vllm.behaviour import Behaviour, FaultKind

HTML_502 = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)
HTML_200 = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body></body></html>\n"


class RefusedError(Exception):
    """The request is one that vLLM refuses."""

    def __init__(
        self,
        message: str,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = "BadRequestError",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.kind, self.param = message, status, kind, param

    def body(self, shape: str) -> dict[str, Any]:
        info = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": int(self.status),
        }
        return {"object": "error", **info} if shape == "flat" else {"error": info}


class UnauthorizedError(RefusedError):
    def __init__(self) -> None:
        super().__init__("Unauthorized", HTTPStatus.UNAUTHORIZED)

    def body(self, shape: str) -> dict[str, Any]:  # noqa: ARG002  one shape, in every release
        return {"error": "Unauthorized"}


class UnparsableError(RefusedError):
    def __init__(self) -> None:
        super().__init__("There was an error parsing the body")

    def body(self, shape: str) -> dict[str, Any]:  # noqa: ARG002  Starlette's own
        return {"detail": self.message}


def invalid(problem: dict[str, Any] | str, param: str | None) -> RefusedError:
    """What FastAPI's request validation refuses; `problem` is printed as a Python dict, as there.

    The type is the HTTP phrase here, "Bad Request", where vLLM's own is "BadRequestError".
    """
    return RefusedError(f"1 validation error:\n  {problem}", kind="Bad Request", param=param)


def unknown_model(asked: object, served: str) -> RefusedError:
    message = f"The model `{asked}` does not exist. Valid aliases: {served}."
    return RefusedError(message, HTTPStatus.NOT_FOUND, "NotFoundError", "model")


def prompt_too_long(tokens: int, max_model_len: int) -> RefusedError:
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt "
        f"contains {tokens} input tokens, which exceeds this limit even without any output tokens. "
        f"Please reduce the length of the input prompt. (parameter=input_tokens, value={tokens})"
    )
    return RefusedError(message, param="input_tokens")


def too_many_asked(field: str, asked: int, max_model_len: int) -> RefusedError:
    message = (
        f"{field}={asked} cannot be greater than max_model_len={max_model_len}. "
        f"Please request fewer output tokens. (parameter={field}, value={asked})"
    )
    return RefusedError(message, param=field)


FIXED = {
    FaultKind.HTTP_401: UnauthorizedError(),
    FaultKind.HTTP_422: RefusedError(
        "Failed to fetch media from URL: Invalid URL format (parameter=image_url)",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "UnprocessableEntityError",
        "image_url",
    ),
    # Never vLLM's own: the gateway in front of it.
    FaultKind.HTTP_429: RefusedError("Rate limit exceeded", HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests"),
    FaultKind.HTTP_500: RefusedError("Internal server error", HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError"),
    FaultKind.HTTP_503: RefusedError(
        "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Service Unavailable",
    ),
}


def injected(kind: FaultKind, behaviour: Behaviour) -> RefusedError | None:
    """The error that a fault of this kind answers with, if it is one of JSON and a status."""
    if kind is FaultKind.HTTP_400:
        return prompt_too_long(behaviour.max_model_len + 1000, behaviour.max_model_len)
    if kind is FaultKind.HTTP_404_MODEL:
        return unknown_model(behaviour.model, "another-model")
    return FIXED.get(kind)


def response(error: RefusedError, shape: str) -> web.Response:
    headers = {"Content-Type": "application/json"}
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = "1"
    return web.Response(body=orjson.dumps(error.body(shape)), status=error.status, headers=headers)
