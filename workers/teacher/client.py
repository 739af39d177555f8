"""Chat completions over HTTP: httpx's API on aiohttp's transport. One boundary, all errors translated."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Self

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from app.teachers.config import Teacher
from workers.teacher.errors import BadReply, ConnectionLost, TeacherError, TimedOut, Unreachable
from workers.teacher.replies import error_of, read_reply
from workers.teacher.types import ChatRequest, Reply

MAX_BODY_BYTES = 16 * 1024 * 1024
KEEPALIVE_S = 4.0  # uvicorn, and so vLLM, closes an idle connection after 5 s


class TeacherClient:
    """Calls one teacher. Never retries by itself: workers/retry.py is the one place that decides that."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._urls = itertools.cycle(f"{url}/v1/chat/completions" for url in teacher.urls)
        headers = {"content-type": "application/json", "accept": "application/json"}
        if teacher.api_key is not None:
            headers["authorization"] = f"Bearer {teacher.api_key.get_secret_value()}"
        self._headers = headers
        # Whoever bounds the calls in flight is the worker; a pool limit here would only hide a queue.
        self._client = httpx.AsyncClient(
            transport=AiohttpTransport(client=self._session),
            timeout=httpx.Timeout(None, connect=teacher.connect_timeout_s),
            trust_env=False,
        )

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._client.aclose()

    async def generate(self, request: ChatRequest) -> Reply:
        """One call, bounded by the teacher's `timeout_s` from the first byte sent to the last received.

        Raises:
            TeacherError: there is no well-formed reply; the subclass says whose fault it may be.
        """
        body = orjson.dumps({"model": self._teacher.model, "messages": request.messages, **request.parameters})
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._teacher.timeout_s):
                status, content_type, raw = await self._post(body)
            latency_ms = _since_ms(started)
            if status != httpx.codes.OK:
                raise error_of(status, raw)
            return read_reply(raw, content_type, latency_ms)
        except TimeoutError as exc:
            error: TeacherError = TimedOut(f"no complete answer within {self._teacher.timeout_s:g} s")
            error.latency_ms = _since_ms(started)
            raise error from exc
        except httpx.HTTPError as exc:
            error = _translate(exc)
            error.latency_ms = _since_ms(started)
            raise error from exc
        except TeacherError as exc:
            exc.latency_ms = _since_ms(started)
            raise
        except Exception as exc:  # what the transport lets through: a server that speaks no HTTP, headers that are too long
            error = BadReply(f"no HTTP answer: {' '.join(repr(exc).split())[:300]}")
            error.latency_ms = _since_ms(started)
            raise error from exc

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        request = self._client.build_request("POST", next(self._urls), content=body, headers=self._headers)
        response = await self._client.send(request, stream=True)
        try:
            received = bytearray()
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    msg = f"the answer is longer than {MAX_BODY_BYTES} bytes"
                    raise BadReply(msg, raw=bytes(received[:65536]))
            return response.status_code, response.headers.get("content-type", ""), bytes(received)
        finally:
            await response.aclose()


def _translate(exc: httpx.HTTPError) -> TeacherError:
    """By aiohttp's own class where there is one: the transport maps a lost connection to ConnectTimeout."""
    cause = exc.__cause__
    words = str(exc) or type(cause or exc).__name__
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Unreachable(f"no connection: {words}")
    if isinstance(cause, aiohttp.ServerTimeoutError):
        return TimedOut(words)
    if isinstance(cause, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return ConnectionLost(f"the connection broke off: {words}")
    if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(f"no connection: {words}")
    if isinstance(exc, httpx.TimeoutException):
        return TimedOut(words)
    if isinstance(exc, httpx.UnsupportedProtocol):
        return Unreachable(f"the teacher's URL is not usable: {words}")
    if isinstance(exc, httpx.DecodingError):
        return BadReply(f"the body cannot be decoded: {words}")
    return ConnectionLost(words)


def _since_ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
