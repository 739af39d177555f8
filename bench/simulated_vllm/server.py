"""The server: what each path answers, and the helper that runs it inside a test."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from bench.simulated_vllm import chat, completions, control, metrics
from bench.simulated_vllm.answers import sentences
from bench.simulated_vllm.behaviour import Behaviour
from bench.simulated_vllm.chat_request import tokenize
from bench.simulated_vllm.engine import Engine
from bench.simulated_vllm.errors import RefusedError, UnauthorizedError, response
from bench.simulated_vllm.faults import FaultPlan
from bench.simulated_vllm.sending import JSON_HEADERS
from bench.simulated_vllm.stats import Stats

MAX_REQUEST_BYTES = 256 * 1024 * 1024


class Simulated:
    """One simulated vLLM. Setting `behaviour` takes effect with the next request."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.url = ""
        self.stats = Stats()
        self.engine = Engine(self.stats)
        self.started = int(time.time())
        self.behaviour = behaviour
        sentences()

    @property
    def behaviour(self) -> Behaviour:
        return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.plan = FaultPlan(behaviour)
        self.engine.configure(behaviour)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", partial(chat.chat, self))
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/version", self.version)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_post("/tokenize", self.tokenize)
        control.attach(app, self)
        app.router.add_route("*", "/{path:.*}", self.not_found)
        return app

    def authorise(self, request: web.Request) -> None:
        expected = self._behaviour.api_key
        if expected is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), expected.encode()):
            raise UnauthorizedError

    async def models(self, request: web.Request) -> web.Response:
        try:
            self.authorise(request)
        except RefusedError as error:
            return response(error, self._behaviour.error_shape)
        behaviour = self._behaviour
        listed = completions.models(behaviour.model, behaviour.max_model_len, self.started)
        return web.Response(body=orjson.dumps(listed), headers=JSON_HEADERS)

    async def health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=b'{"version":"0.32.0"}', headers=JSON_HEADERS)

    async def metrics(self, request: web.Request) -> web.Response:  # noqa: ARG002
        body = metrics.render(self._behaviour, self.stats, self.engine.cache)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def tokenize(self, request: web.Request) -> web.Response:
        behaviour = self._behaviour
        content_type = request.headers.get("Content-Type", "")
        try:
            made = tokenize(await request.read(), content_type, behaviour)
        except RefusedError as error:
            return response(error, behaviour.error_shape)
        return web.Response(body=orjson.dumps(made), headers=JSON_HEADERS)

    async def not_found(self, request: web.Request) -> web.Response:  # noqa: ARG002
        body = b'{"detail":"Not Found"}'  # Starlette's own, before vLLM's handlers
        return web.Response(body=body, status=404, headers=JSON_HEADERS)


@asynccontextmanager
async def running(behaviour: Behaviour | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Simulated]:
    """Listens on entering; on leaving, drops what is still in flight."""
    simulated = Simulated(behaviour or Behaviour())
    # Cancelled handlers are how a client that went away frees its slot, as in vLLM.
    runner = web.AppRunner(simulated.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=4096)
        await site.start()
        simulated.url = f"http://{host}:{runner.addresses[0][1]}"
        yield simulated
    finally:
        await runner.cleanup()
