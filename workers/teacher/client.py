"""Chat completions from one server: httpx's transport API on aiohttp. One boundary, all errors translated."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Self

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from app.teachers.config import Teacher
from workers.teacher.engine_load import EngineLoad, read_engine_load
from workers.teacher.errors import BadReply, ConnectionLost, TeacherError, TimedOut, Unreachable, WrongModel
from workers.teacher.replies import error_of, read_reply
from workers.teacher.types import ChatRequest, Reply

MAX_BODY_BYTES = 16 * 1024 * 1024
KEEPALIVE_S = 4.0  # uvicorn, and so vLLM, closes an idle connection after 5 s
METRICS_TIMEOUT_S = 5.0
# A peer whose machine or network is gone says nothing; the kernel finds out within about a minute.
PROBE_AFTER_S, PROBE_EVERY_S, PROBES = 30, 10, 3


class TeacherClient:
    """Calls one server. Never retries by itself: workers/retry.py is the one place that decides that.

    The transport is used without `httpx.AsyncClient`, whose redirects, cookies and authentication a teacher does not
    need: it made half of the cost of a call (0.36 ms of CPU against 0.17 ms).
    """

    def __init__(self, teacher: Teacher, url: str) -> None:
        self._teacher = teacher
        self._url = httpx.URL(f"{url}/v1/chat/completions")
        self._metrics_url = httpx.URL(f"{url}/metrics")
        # Given to the session, as a plain dict: httpx's own Headers cost 30 µs a call to walk through.
        self._headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
        if teacher.api_key is not None:
            self._headers["authorization"] = f"Bearer {teacher.api_key.get_secret_value()}"
        self._extensions: dict[str, Any] = {"timeout": {"connect": teacher.connect_timeout_s}}
        self._transport = AiohttpTransport(client=self._session)

    def _session(self) -> aiohttp.ClientSession:
        # Whoever bounds the calls in flight is the pool; a limit here would only hide a queue.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, socket_factory=_probed_socket)
        return aiohttp.ClientSession(connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._transport.aclose()

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
            reply = read_reply(raw, content_type, latency_ms)
            self._check_model(reply)
            return reply
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

    def _check_model(self, reply: Reply) -> None:
        """Whoever answers for where every line came from must know who wrote it."""
        if self._teacher.check_model and reply.model is not None and reply.model != self._teacher.model:
            msg = (
                f"asked for model {self._teacher.model!r}, and {reply.model[:200]!r} answered: name that one, mend the proxy "
                "between, or set check_model = false for a server that answers under another name on purpose"
            )
            raise WrongModel(msg, raw=reply.raw)

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        request = httpx.Request("POST", self._url, content=body, extensions=self._extensions)
        response = await self._transport.handle_async_request(request)
        try:
            received = bytearray()
            async for chunk in response.aiter_bytes() if "content-encoding" in response.headers else response.aiter_raw():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    msg = f"the answer is longer than {MAX_BODY_BYTES} bytes"
                    raise BadReply(msg, raw=bytes(received[:65536]))
            return response.status_code, response.headers.get("content-type", ""), bytes(received)
        finally:
            await response.aclose()

    async def engine_load(self) -> EngineLoad | None:
        """What vLLM's /metrics say now; None where there are none. Raises nothing but cancellation."""
        try:
            async with asyncio.timeout(METRICS_TIMEOUT_S):
                request = httpx.Request("GET", self._metrics_url, extensions=self._extensions)
                response = await self._transport.handle_async_request(request)
                try:
                    raw = await response.aread()
                finally:
                    await response.aclose()
            return read_engine_load(raw.decode("utf-8", "replace")) if response.status_code == httpx.codes.OK else None
        except Exception:  # noqa: BLE001 -- metrics help; that the server is away is told by the calls
            return None


def _probed_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a silent death of its peer (tcp(7))."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, (PROBE_AFTER_S + PROBE_EVERY_S * PROBES) * 1000)
    return made


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
