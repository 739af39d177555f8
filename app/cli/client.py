"""The commands' way to the API: the same REST that everybody uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx

from app.access.keys import read_admin_key
from app.errors import LimbeckError
from app.settings import Settings

TIMEOUT = httpx.Timeout(60.0, connect=5.0, write=None)


class ApiProblem(LimbeckError):
    """The API refused; the words are its own."""

    def __init__(self, detail: str, body: dict[str, Any], status: int) -> None:
        super().__init__(detail)
        self.body = body
        self.http_status = status


class Api:
    """A synchronous client of one Limbeck."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    @classmethod
    def from_settings(cls, settings: Settings, url: str | None = None) -> Self:
        """The Limbeck at `url`, LIMBECK_URL, or this machine's."""
        return cls(url or settings.url or f"http://{_reachable(settings.host)}:{settings.port}", read_admin_key(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def ready(self) -> bool:
        """Does it answer, with a database behind it?"""
        try:
            return self._client.get("/readyz", timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def create(self, name: str, recipe: dict[str, Any]) -> dict[str, Any]:
        """A new dataset."""
        return self._json("POST", "/v1/datasets", json={"name": name, "recipe": recipe})

    def dataset(self, name: str) -> dict[str, Any]:
        """Progress and funnel."""
        return self._json("GET", f"/v1/datasets/{name}")

    def datasets(self) -> list[dict[str, Any]]:
        """Up to 500 datasets, oldest first."""
        page: list[dict[str, Any]] = self._json("GET", "/v1/datasets", params={"limit": 500})["datasets"]
        return page

    def cancel(self, name: str) -> None:
        """Stop a dataset for good."""
        self._json("POST", f"/v1/datasets/{name}/cancel")

    def push(self, name: str, lines: Iterable[bytes], key: str | None = None) -> dict[str, Any]:
        """Seeds as NDJSON, streamed."""
        headers = {"Content-Type": "application/x-ndjson", **({"Idempotency-Key": key} if key else {})}
        return self._json("POST", f"/v1/datasets/{name}/seeds", content=lines, headers=headers)

    def samples(self, name: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- query parameters
        """One page of samples."""
        page: list[dict[str, Any]] = self._json("GET", f"/v1/datasets/{name}/samples", params=filters)["samples"]
        return page

    def export(self, name: str, path: Path, format_name: str = "alpaca") -> int:
        """Stream the accepted samples into `path`, in place only when whole; returns the number of lines.

        Raises:
            LimbeckError: the stream was cut.
        """
        partial = path.with_name(path.name + ".part")
        with self._client.stream("GET", f"/v1/datasets/{name}/export", params={"format": format_name}) as response:
            if response.is_error:
                response.read()
                raise _problem(response)
            expected = int(response.headers["Limbeck-Samples"])
            written = 0
            with partial.open("wb") as file:
                for chunk in self._guarded(response.iter_bytes()):
                    written += chunk.count(b"\n")
                    file.write(chunk)
        if written != expected:
            msg = f"the export was cut: {written} of {expected} samples arrived; what came is in {partial}"
            raise LimbeckError(msg)
        partial.replace(path)
        return written

    def _guarded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except httpx.HTTPError as exc:
            msg = f"the connection to {self.url} broke off: {exc}"
            raise LimbeckError(msg) from exc

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 -- httpx's own arguments
        try:
            response = self._client.request(method, path, **request)
        except httpx.ConnectError as exc:
            msg = f"nothing answers at {self.url}: start it with `limbeck up`, or set LIMBECK_URL"
            raise LimbeckError(msg) from exc
        except httpx.HTTPError as exc:
            msg = f"{self.url} did not answer: {exc!r}"
            raise LimbeckError(msg) from exc
        if response.is_error:
            raise _problem(response)
        body: dict[str, Any] = response.json()
        return body


def _problem(response: httpx.Response) -> ApiProblem:
    try:
        body = response.json()
        detail = str(body["detail"])
    except (ValueError, KeyError, TypeError):
        body, detail = {}, response.text[:500]
    return ApiProblem(f"HTTP {response.status_code}: {detail}", body, response.status_code)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 -- read, not bound
