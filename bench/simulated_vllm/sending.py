"""Getting an answer onto the wire, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from bench.simulated_vllm.behaviour import Behaviour, FaultKind
from bench.simulated_vllm.faults import reset
from bench.simulated_vllm.streaming import DONE

if TYPE_CHECKING:
    from bench.simulated_vllm.engine import Engine

JSON_HEADERS = {"Content-Type": "application/json"}
SSE_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}
BEFORE_RESET_S = 0.02  # so that the client has read what was sent


async def send_json(request: web.Request, payload: bytes, kind: FaultKind | None, behaviour: Behaviour) -> web.StreamResponse:
    match kind:
        case FaultKind.TRUNCATED_JSON:
            payload = payload[: len(payload) // 2]
        case FaultKind.RESET_MID_BODY:
            response = await start_whole(request, len(payload))
            await response.write(payload[: len(payload) // 2])
            await asyncio.sleep(BEFORE_RESET_S)
            reset(request)
            return response
        case FaultKind.SLOW_DRIP:
            response = await start_whole(request, len(payload))
            for byte in payload:
                await response.write(bytes((byte,)))
                await asyncio.sleep(behaviour.drip_interval_s)
            await response.write_eof()
            return response
        case FaultKind.CLOSE_KEEPALIVE:
            # Written here, so that the close, which flushes first, comes right behind it.
            response = await start_whole(request, len(payload))
            await response.write(payload)
            await response.write_eof()
            if request.transport is not None:
                request.transport.close()
            return response
        case _:
            pass
    return web.Response(body=payload, headers=JSON_HEADERS)


async def start_whole(request: web.Request, length: int) -> web.StreamResponse:
    response = web.StreamResponse(headers=JSON_HEADERS)
    response.content_length = length
    await response.prepare(request)
    return response


async def send_events(
    request: web.Request,
    events: Iterable[bytes],
    kind: FaultKind | None,
    pace: tuple[Engine, int, float],
) -> web.StreamResponse:
    """`pace`: the engine, and for each event its tokens and its part of the latency."""
    engine, tokens, latency_s = pace
    events = list(events)
    response = web.StreamResponse(headers=SSE_HEADERS)
    response.enable_chunked_encoding()
    await response.prepare(request)
    cut_at = len(events) // 2 if kind in CUT else len(events)
    for position, event in enumerate(events):
        await engine.generate(tokens, latency_s)
        if position == cut_at:
            await response.write(event[: len(event) // 2])
            break
        await response.write(event)
    else:
        await response.write(DONE)
    if kind is FaultKind.RESET_MID_BODY:
        await asyncio.sleep(BEFORE_RESET_S)
        reset(request)
        return response
    await response.write_eof()
    if kind is FaultKind.CLOSE_KEEPALIVE and request.transport is not None:
        request.transport.close()
    return response


CUT = frozenset({FaultKind.RESET_MID_BODY, FaultKind.TRUNCATED_JSON})
