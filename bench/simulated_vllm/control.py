"""/simulated/…: look at the server, and change how it behaves, from another process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from bench.simulated_vllm.behaviour import Behaviour

if TYPE_CHECKING:
    from bench.simulated_vllm.server import Simulated


def attach(app: web.Application, simulated: Simulated) -> None:
    async def get_behaviour(_: web.Request) -> web.Response:
        return as_json(simulated.behaviour.as_dict())

    async def set_behaviour(request: web.Request) -> web.Response:
        """The fields given change, the others stay; `{}` with ?reset=1 goes back to the default."""
        base = Behaviour() if "reset" in request.query else simulated.behaviour
        try:
            simulated.behaviour = base.changed(orjson.loads(await request.read() or b"{}"))
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            return as_json({"error": f"{type(exc).__name__}: {exc}"}, status=400)
        return as_json(simulated.behaviour.as_dict())

    async def get_stats(_: web.Request) -> web.Response:
        return as_json(simulated.stats.as_dict())

    async def reset(_: web.Request) -> web.Response:
        """Zeroes the counts, and `first_n` of every fault begins anew."""
        simulated.stats.reset()
        simulated.behaviour = simulated.behaviour
        return as_json(simulated.stats.as_dict())

    app.router.add_get("/simulated/behaviour", get_behaviour)
    app.router.add_post("/simulated/behaviour", set_behaviour)
    app.router.add_get("/simulated/stats", get_stats)
    app.router.add_post("/simulated/reset", reset)


def as_json(value: dict[str, Any], status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json"}
    return web.Response(body=orjson.dumps(value), status=status, headers=headers)
