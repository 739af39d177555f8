"""Faults: which request gets one, and what it does to the answer or to the connection."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress
from typing import Any

from aiohttp import web

from bench.simulated_vllm.behaviour import Behaviour, FaultKind

MARK = "~mark~"  # stands in the text until the bytes that no JSON writer would write replace it
MARKED_BYTES = {
    FaultKind.INVALID_UTF8: b"\xff\xfe\xc3\x28",
    FaultKind.LONE_SURROGATE: b"\\ud800",
    FaultKind.NUL_IN_TEXT: b"\\u0000",
}


class FaultPlan:
    """The faults of one behaviour, with how many requests each has considered."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.faults = behaviour.faults
        self.considered = [0] * len(self.faults)
        self.random = random.Random(behaviour.seed)

    def draw(self, prompt: str) -> FaultKind | None:
        """The first of the list that this request gets."""
        for position, fault in enumerate(self.faults):
            if fault.match is not None and fault.match not in prompt:
                continue
            if fault.first_n is not None and self.considered[position] >= fault.first_n:
                continue
            self.considered[position] += 1
            if fault.share >= 1.0 or self.random.random() < fault.share:
                return fault.kind
        return None


def spoil(body: dict[str, Any], kind: FaultKind, behaviour: Behaviour) -> None:
    """Change a good answer, in place, into the one that the fault asks for."""
    for choice in body["choices"]:
        message = choice["message"]
        match kind:
            case FaultKind.NULL_CONTENT:
                message["content"] = None
            case FaultKind.BIG_BODY:
                message["content"] = "big " * (behaviour.big_body_bytes // 4)
            case FaultKind.ABORT:
                choice["finish_reason"] = "abort"
                message["content"] = half(message["content"])
            case FaultKind.CONTENT_FILTER:
                choice["finish_reason"] = "content_filter"
                message["content"] = ""
            case FaultKind.TOOL_CALLS:
                choice["finish_reason"] = "tool_calls"
                message["content"] = None
                message["tool_calls"] = [tool_call()]
            case FaultKind.INVALID_UTF8 | FaultKind.LONE_SURROGATE | FaultKind.NUL_IN_TEXT:
                message["content"] = f"{half(message['content'])} {MARK} and so on."
            case _:
                pass
    if kind is FaultKind.EMPTY_CHOICES:
        body["choices"] = []
    elif kind is FaultKind.WRONG_MODEL:
        body["model"] = "another-model"


def half(content: str | None) -> str:
    text = content or ""
    return text[: len(text) // 2]


def tool_call() -> dict[str, Any]:
    function = {"name": "search", "arguments": '{"query": "amber"}'}
    return {
        "id": f"chatcmpl-tool-{random.getrandbits(64):016x}",
        "type": "function",
        "function": function,
    }


def spoil_bytes(payload: bytes, kind: FaultKind | None) -> bytes:
    if kind is None or kind not in MARKED_BYTES:
        return payload
    return payload.replace(MARK.encode(), MARKED_BYTES[kind])


async def hang() -> None:
    """Until the client goes away or the server stops."""
    await asyncio.Event().wait()


def reset(request: web.BaseRequest) -> None:
    """Drop the connection with an RST, not with a FIN that could pass for a short answer."""
    transport = request.transport
    if transport is None:
        return
    linger = struct.pack("ii", 1, 0)  # on, for no time: close() then sends an RST
    with suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
