"""The child processes of `limbeck up` and `limbeck demo`: the API and a worker, each its own process."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from app.cli.client import Api
from app.errors import LimbeckError

PR_SET_PDEATHSIG = 1
READY_S = 60.0
POLL_S = 0.1


def free_port() -> int:
    """A port that nobody listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Children:
    """Started in order, stopped in the reverse; none outlives this process, even if it is killed."""

    def __init__(self, log_dir: Path | None = None) -> None:
        """Logs go to files below `log_dir`, or to this process's stderr."""
        self._log_dir = log_dir
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        """Start `python -m …` with `env` added to this process's environment."""
        log = None
        if self._log_dir is not None:
            self._log_dir.mkdir(parents=True, exist_ok=True)
            log = (self._log_dir / f"{name}.log").open("ab")
        child = subprocess.Popen(  # noqa: S603 -- our own modules
            [sys.executable, "-m", *arguments],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=log or sys.stderr.fileno(),
            stderr=log or sys.stderr.fileno(),
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- one prctl call, no locks
        )
        if log is not None:
            log.close()
        self._children.append((name, child))

    def wait_ready(self, api: Api) -> None:
        """Until the API answers.

        Raises:
            LimbeckError: a child ended, or it took longer than a minute; says where the log is.
        """
        deadline = time.monotonic() + READY_S
        while not api.ready():
            self.check()
            if time.monotonic() > deadline:
                msg = f"the API did not become ready within {READY_S:g} s{self._where('api')}"
                raise LimbeckError(msg)
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises LimbeckError if a child has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                msg = f"the {name} process ended with status {child.returncode}{self._where(name)}"
                raise LimbeckError(msg)

    def stop(self, timeout_s: float = 45.0) -> None:
        """SIGTERM, the last started first; SIGKILL for one that does not end in time."""
        for _, child in reversed(self._children):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _where(self, name: str) -> str:
        if self._log_dir is None:
            return ""
        path = self._log_dir / f"{name}.log"
        tail = path.read_text(errors="replace").splitlines()[-5:] if path.exists() else []
        return f"; the end of {path}:\n" + "\n".join(tail)


def die_with_parent() -> None:
    """For `preexec_fn`. Linux: the kernel sends SIGTERM when the parent is gone, however it went."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
