"""A cap on request bodies, all but seeds: those are streamed and may be as long as they like."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import PayloadTooLarge
from app.problems import problem

MAX_BODY_BYTES = 4 * 1024 * 1024


class BodyLimit:
    """ASGI middleware: more than MAX_BODY_BYTES is answered 413, without reading on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].endswith("/seeds"):
            await self._app(scope, receive, send)
            return
        body = bytearray()
        messages: list[Message] = []
        while True:
            message = await receive()
            messages.append(message)
            body_part = message.get("body", b"")
            body += body_part
            if len(body) > MAX_BODY_BYTES:
                msg = f"The body is longer than {MAX_BODY_BYTES} bytes; only seeds may be."
                await problem(PayloadTooLarge(msg), {"Connection": "close"})(scope, receive, send)
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        queue = iter(messages)

        async def replay() -> Message:
            message = next(queue, None)
            return message if message is not None else await receive()

        await self._app(scope, replay, send)
