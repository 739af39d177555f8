"""vLLM as a child process: started, waited for, and ended with its whole tree."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx

from app.local_teacher.command_line import MODEL, settings, vllm_arguments
from app.local_teacher.errors import LocalTeacherError, last_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

HOST = "127.0.0.1"
WARDEN = Path(__file__).with_name("warden.py")
# vLLM ends in 2 s to 3 s when idle. It does not wait for running requests.
GRACE_S = 10.0
POLL_S = 0.25
REPORT_S = 5.0


class LocalTeacher:
    """One vLLM on this machine's CPU; base_url is known after start().

    As an async context manager it starts on entering, without waiting until the model
    answers (that is wait_ready), and stops on leaving. If this process dies, however it
    dies, vLLM is ended within GRACE_S: see warden.py.
    """

    model = MODEL
    licence = "Apache-2.0"

    def __init__(self, root: Path, python: Path, weights: Path, port: int = 0) -> None:
        self.log = root.absolute() / "vllm.log"
        self.base_url = ""
        self._python = python
        self._weights = weights
        self._port = port
        self._warden: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start vLLM on the port that was asked for, or on a free one for 0."""
        if self._warden is not None:
            message = "This local teacher was started already."
            raise LocalTeacherError(message)
        port = _usable_port(self._port)
        command = (str(self._python), *vllm_arguments(self._weights, HOST, port))
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        # Appending, so that two teachers on one root mix their lines and lose none.
        with self.log.open("ab") as sink:
            self._warden = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(WARDEN), str(GRACE_S), *command),
                stdin=asyncio.subprocess.PIPE,
                stdout=sink,
                stderr=sink,
                env=settings(os.environ),
                # Ctrl-C in the terminal is for us; we then stop vLLM in order.
                start_new_session=True,
            )
        self.base_url = f"http://{HOST}:{port}"

    async def wait_ready(self, timeout_s: float, on_step: Callable[[str], None]) -> None:
        """Return once vLLM answers; raise LocalTeacherError if it exits, or at the timeout."""
        began = time.monotonic()
        next_report_s = REPORT_S
        async with httpx.AsyncClient(base_url=self.base_url, trust_env=False) as client:
            while not await _is_healthy(client):
                waited_s = time.monotonic() - began
                if self._warden is None or self._warden.returncode is not None:
                    what = "vLLM ended before it was ready"
                    raise self._failed(what)
                if waited_s > timeout_s:
                    what = f"vLLM was not ready after {timeout_s:.0f} s"
                    raise self._failed(what)
                if waited_s > next_report_s:
                    on_step(f"vLLM is starting: {waited_s:.0f} s so far, usually 20 s to 45 s.")
                    next_report_s += REPORT_S
                await asyncio.sleep(POLL_S)
        on_step(f"vLLM serves {self.model} at {self.base_url}.")

    async def stop(self) -> None:
        """End vLLM and every process that it started. Harmless twice, or before start()."""
        warden, self._warden = self._warden, None
        if warden is None or warden.stdin is None:
            return
        warden.stdin.close()
        # Shielded: a second Ctrl-C must not leave vLLM half-stopped and unobserved.
        await asyncio.shield(warden.wait())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _failed(self, what: str) -> LocalTeacherError:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        message = f"{what}. Its last lines were:\n{last_lines(text)}\nAll of them: {self.log}"
        return LocalTeacherError(message)


async def _is_healthy(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health", timeout=5)).is_success
    except httpx.TransportError:
        return False


def _usable_port(port: int) -> int:
    """Check that the port is free, or another server would answer our /health."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            message = f"Port {port} on {HOST} is not free ({error.strerror}): choose another, or 0."
            raise LocalTeacherError(message) from error
        number: int = probe.getsockname()[1]
        return number
