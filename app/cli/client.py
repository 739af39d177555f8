"""The commands' way to the API: the same REST that everybody uses."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.access.keys import read_admin_key
from app.errors import LimbeckError
from app.settings import Settings
from app.teachers.config import base_url

GZIP = b"\x1f\x8b"
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
        try:
            self.url = base_url(url)
        except ValueError as exc:
            msg = f"LIMBECK_URL (or --url): {exc}"
            raise LimbeckError(msg) from exc
        url = self.url
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    @classmethod
    def from_settings(cls, settings: Settings, url: str | None = None) -> Self:
        """The Limbeck at `url`, LIMBECK_URL, or this machine's."""
        return cls(url or settings.url or here(settings), read_admin_key(settings))

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
        return self._json("POST", json={"name": name, "recipe": recipe})

    def dataset(self, name: str) -> dict[str, Any]:
        """Progress and funnel."""
        return self._json("GET", name)

    def datasets(self) -> list[dict[str, Any]]:
        """Up to 500 datasets, oldest first."""
        page: list[dict[str, Any]] = self._json("GET", params={"limit": 500})["datasets"]
        return page

    def cancel(self, name: str) -> None:
        """Stop a dataset for good."""
        self._json("POST", name, "cancel")

    def push(self, name: str, lines: Iterator[bytes], key: str | None = None) -> dict[str, Any]:
        """Seeds as NDJSON, streamed; a gzip file goes as it is."""
        headers = {"Content-Type": "application/x-ndjson"}
        if key is not None:
            headers["Idempotency-Key"] = quote(key, safe=" -._~:/@+=,")
        first = next(lines, b"")
        if first.startswith(GZIP):
            headers["Content-Encoding"] = "gzip"
        lines = itertools.chain([first], lines)
        return self._json("POST", name, "seeds", content=lines, headers=headers)

    def samples(self, name: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401 -- query parameters
        """One page of samples."""
        page: list[dict[str, Any]] = self._json("GET", name, "samples", params=filters)["samples"]
        return page

    def export(self, name: str, path: Path, format_name: str = "alpaca") -> int:
        """Stream the accepted samples into `path`, in place only when whole; returns the number of lines.

        `-` is standard output. What is no regular file (a device, a pipe) is written to as it is.

        Raises:
            LimbeckError: the stream was cut, or the file cannot be written.
        """
        direct = str(path) == "-" or (path.exists() and not path.is_file())
        path = path if direct else path.resolve()
        partial = path if direct else path.with_name(path.name + ".part")
        written = 0
        with self._translated(), ExitStack() as stack:
            url = f"/v1/datasets/{quote(name, safe='')}/export"
            response = stack.enter_context(self._client.stream("GET", url, params={"format": format_name}))
            if response.is_error:
                response.read()
                raise _problem(response)
            expected = int(response.headers.get("Limbeck-Samples", "-1"))
            if expected < 0:
                raise self._no_limbeck()
            file = sys.stdout.buffer if str(path) == "-" else stack.enter_context(partial.open("wb"))
            for chunk in response.iter_bytes():
                written += chunk.count(b"\n")
                file.write(chunk)
            file.flush()
        if written != expected:
            msg = f"the export was cut: {written} of {expected} samples arrived" + (
                "" if direct else f"; what came is in {partial}"
            )
            raise LimbeckError(msg)
        if not direct:
            partial.replace(path)
        return written

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as exc:
            msg = f"nothing answers at {self.url}: start it with `limbeck up`, or set LIMBECK_URL"
            raise LimbeckError(msg) from exc
        except httpx.HTTPError as exc:
            msg = f"the connection to {self.url} broke off: {exc!r}"
            raise LimbeckError(msg) from exc
        except OSError as exc:
            msg = f"{exc.filename} cannot be written: {exc.strerror}" if exc.filename else str(exc)
            raise LimbeckError(msg) from exc

    def _no_limbeck(self) -> LimbeckError:
        return LimbeckError(f"what answers at {self.url} is no Limbeck; check LIMBECK_URL or --url")

    def _json(self, method: str, *path: str, **request: Any) -> dict[str, Any]:  # noqa: ANN401 -- httpx's own arguments
        url = "/v1/datasets" + "".join(f"/{quote(part, safe='')}" for part in path)
        with self._translated():
            response = self._client.request(method, url, **request)
        if response.is_error:
            raise _problem(response)
        try:
            body: dict[str, Any] = response.json()
        except ValueError as exc:
            raise self._no_limbeck() from exc
        return body


def _problem(response: httpx.Response) -> ApiProblem:
    try:
        body = response.json()
        detail = str(body["detail"])
    except (ValueError, KeyError, TypeError):
        body, detail = {}, response.text[:500]
    return ApiProblem(f"HTTP {response.status_code}: {detail}", body, response.status_code)


def here(settings: Settings) -> str:
    """The URL at which this machine reaches its own API."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 -- read, not bound
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
