"""What several tests need: a dataset over the API, and a worker to work on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from app.database import Database
from app.main import create_app
from app.settings import Settings
from app.teachers.config import Teacher, Teachers
from bench.simulated_vllm import Simulated
from workers.worker import Worker

KEY = "test-key"
NDJSON = {"content-type": "application/x-ndjson"}
PATIENCE_S = 45.0


@dataclass
class Client:
    """The API, in this process, with its key."""

    http: httpx.AsyncClient

    async def create(self, name: str = "d", **recipe: Any) -> dict[str, Any]:
        response = await self.http.post("/v1/datasets", json={"name": name, "recipe": recipe})
        assert response.status_code == 201, response.text
        view: dict[str, Any] = response.json()
        return view

    async def push(self, name: str, seeds: list[dict[str, Any]]) -> dict[str, Any]:
        body = b"".join(orjson.dumps(seed) + b"\n" for seed in seeds)
        response = await self.http.post(f"/v1/datasets/{name}/seeds", content=body, headers=NDJSON)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def view(self, name: str = "d") -> dict[str, Any]:
        """The dataset's view, checked to add up."""
        view = await self.view_unchecked(name)
        assert_adds_up(view)
        return view

    async def view_unchecked(self, name: str = "d") -> dict[str, Any]:
        response = await self.http.get(f"/v1/datasets/{name}")
        assert response.status_code == 200, response.text
        view: dict[str, Any] = response.json()
        return view

    async def until(self, state: str, name: str = "d", patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the state; every view on the way must add up."""
        async with asyncio.timeout(patience_s):
            while (view := await self.view(name))["state"] != state:
                await asyncio.sleep(0.05)
        return view

    async def export(self, name: str = "d") -> list[dict[str, Any]]:
        response = await self.http.get(f"/v1/datasets/{name}/export")
        assert response.status_code == 200, response.text
        lines = [orjson.loads(line) for line in response.content.splitlines()]
        assert len(lines) == int(response.headers["limbeck-samples"])
        return lines

    async def samples(self, name: str = "d", **filters: Any) -> list[dict[str, Any]]:
        response = await self.http.get(f"/v1/datasets/{name}/samples", params={"limit": 500, **filters})
        assert response.status_code == 200, response.text
        page: list[dict[str, Any]] = response.json()["samples"]
        return page


def assert_adds_up(view: dict[str, Any]) -> None:
    """The funnel's promises."""
    seeds, samples, attempts = view["seeds"], view["samples"], view["attempts"]
    assert seeds["total"] == sum(seeds[state] for state in ("queued", "leased", "done", "failed", "cancelled"))
    assert samples["rejected"] == sum(samples["by_reason"].values())
    assert attempts["total"] == attempts["ok"] + sum(attempts["by_error"].values())
    # Every finished answer is a sample, and nothing else is.
    assert samples["accepted"] + samples["rejected"] == attempts["ok"]


@asynccontextmanager
async def serving(database: Database, teachers: Teachers) -> AsyncIterator[Client]:
    """The API over ASGI, on that database, with those teachers."""
    app = create_app(Settings(admin_key=KEY), dsn=database.dsn)
    app.state.teachers = teachers
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://limbeck", headers=headers) as http,
    ):
        yield Client(http)


def teachers_of(simulated: Simulated | str, **fields: Any) -> Teachers:
    """One teacher, `default`, at a simulated vLLM."""
    url = simulated if isinstance(simulated, str) else simulated.url
    return Teachers({"default": Teacher(urls=(url,), model="simulated", **fields)})


@asynccontextmanager
async def working(database: Database, teachers: Teachers, **settings: Any) -> AsyncIterator[Worker]:
    """A worker in this process, drained at the end."""
    defaults = {"max_in_flight": 16, "lease_s": 30.0, "heartbeat_s": 1.0, "drain_s": 10.0}
    worker = Worker(database, teachers, **{**defaults, **settings})
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop.set()
        await task
