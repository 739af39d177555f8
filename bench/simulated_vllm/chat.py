"""POST /v1/chat/completions, from the request's bytes to the answer's."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from bench.simulated_vllm import completions
from bench.simulated_vllm.answers import answer, prompt_key
from bench.simulated_vllm.behaviour import Behaviour, FaultKind
from bench.simulated_vllm.chat_request import ChatRequest, parse
from bench.simulated_vllm.errors import HTML_200, HTML_502, RefusedError, injected, response
from bench.simulated_vllm.faults import hang, reset, spoil, spoil_bytes
from bench.simulated_vllm.sending import send_events, send_json
from bench.simulated_vllm.streaming import events

if TYPE_CHECKING:
    from bench.simulated_vllm.server import Simulated


async def chat(simulated: Simulated, request: web.Request) -> web.StreamResponse:
    stats, behaviour = simulated.stats, simulated.behaviour
    stats.enter()
    try:
        simulated.authorise(request)
        raw = await request.read()
        asked = parse(raw, request.headers.get("Content-Type", ""), behaviour)
        return await serve(simulated, request, asked, behaviour)
    except RefusedError as error:
        stats.by_refusal[int(error.status)] += 1
        return response(error, behaviour.error_shape)
    except asyncio.CancelledError:
        stats.aborted += 1
        raise
    except ConnectionError:
        stats.aborted += 1
        return web.Response()  # goes nowhere
    finally:
        stats.in_flight -= 1


async def serve(simulated: Simulated, request: web.Request, asked: ChatRequest, behaviour: Behaviour) -> web.StreamResponse:
    stats = simulated.stats
    if behaviour.track_prompts:
        stats.prompts[prompt_key(asked.messages)] += 1
    kind = simulated.plan.draw(asked.prompt) if behaviour.faults else None
    if kind is not None:
        stats.by_fault[kind.value] += 1
        instead = await without_answer(request, kind, behaviour)
        if instead is not None:
            return instead
    await simulated.engine.admit(asked.prompt_tokens)
    try:
        sent = await generate(simulated, request, asked, behaviour, kind)
    finally:
        simulated.engine.release()
    stats.completed += kind is None
    return sent


async def without_answer(request: web.Request, kind: FaultKind, behaviour: Behaviour) -> web.StreamResponse | None:
    """The faults that come before the engine has seen the request."""
    match kind:
        case FaultKind.HANG:
            await hang()
        case FaultKind.RESET_BEFORE:
            reset(request)
            return web.Response()  # goes nowhere
        case FaultKind.HTML_200 | FaultKind.HTTP_502_HTML:
            gateway = kind is FaultKind.HTTP_502_HTML
            body, status = (HTML_502, 502) if gateway else (HTML_200, 200)
            return web.Response(body=body, status=status, headers={"Content-Type": "text/html"})
        case _:
            pass
    error = injected(kind, behaviour)
    return None if error is None else response(error, behaviour.error_shape)


async def generate(
    simulated: Simulated,
    request: web.Request,
    asked: ChatRequest,
    behaviour: Behaviour,
    kind: FaultKind | None,
) -> web.StreamResponse:
    engine = simulated.engine
    made = [answer(behaviour, asked.messages, asked.seed, index, asked.max_tokens) for index in range(asked.n)]
    request_id = request.headers.get("X-Request-Id") or asked.request_id
    request_id = request_id or f"{random.getrandbits(64):016x}"
    body = completions.completion(behaviour.model, request_id, made, asked.prompt_tokens, behaviour.reasoning)
    tokens = body["usage"]["completion_tokens"]
    if kind is not None:
        spoil(body, kind, behaviour)
    latency_s = engine.latency_s(behaviour)
    if asked.stream:
        parts = [spoil_bytes(event, kind) for event in events(body, include_usage=asked.include_usage)]
        pace = (engine, tokens // max(1, len(parts)), latency_s / max(1, len(parts)))
        sent = await send_events(request, parts, kind, pace)
        engine.account(asked.prompt, asked.prompt_tokens, made)
        return sent
    if latency_s or behaviour.tokens_per_s_total:
        await engine.generate(tokens, latency_s, asked.prompt_tokens)
    engine.account(asked.prompt, asked.prompt_tokens, made)
    payload = spoil_bytes(orjson.dumps(body), kind)
    return await send_json(request, payload, kind, behaviour)
