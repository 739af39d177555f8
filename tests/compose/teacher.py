"""The teacher that the containers are to use: simulated on this host, or the real one that the environment names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.compose.docker import ROOT, Failed, say

DOCKER_HOST_NAME = "host.docker.internal"


@dataclass(frozen=True, slots=True)
class Teacher:
    """What the containers are told of the teacher."""

    variables: dict[str, str]
    simulated: bool


@contextmanager
def teacher() -> Iterator[Teacher]:
    """The real teacher that the environment names, else a simulated one on this host."""
    named = {key: value for key, value in os.environ.items() if key.startswith("LIMBECK_TEACHER_") and value}
    url = named.get("LIMBECK_TEACHER_URL")
    if url is None:
        with simulated_teacher() as port:
            yield Teacher(
                {
                    "LIMBECK_TEACHER_URL": f"http://{DOCKER_HOST_NAME}:{port}",
                    "LIMBECK_TEACHER_MODEL": "simulated",
                    "LIMBECK_TEACHER_REASONING": "native",
                },
                simulated=True,
            )
        return
    if "LIMBECK_TEACHER_MODEL" not in named:
        raise Failed("LIMBECK_TEACHER_URL needs LIMBECK_TEACHER_MODEL: the model's served name")
    for loopback in ("127.0.0.1", "localhost"):
        url = url.replace(f"//{loopback}", f"//{DOCKER_HOST_NAME}")
    say(f"the teacher is REAL: {named['LIMBECK_TEACHER_MODEL']} at {url}, as the containers see it")
    yield Teacher({**named, "LIMBECK_TEACHER_URL": url}, simulated=False)


@contextmanager
def simulated_teacher() -> Iterator[int]:
    """Its port; it listens to every address, because containers reach this host by its bridge's."""
    flags = ["--host", "0.0.0.0", "--port", "0", "--latency-s", "1", "--jitter-s", "0.5"]
    command = [sys.executable, "-m", "bench.simulated_vllm", *flags]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            msg = f"the simulated teacher did not start: status {process.wait(10)}"
            raise Failed(msg)
        port = httpx.URL(json.loads(line)["url"]).port
        if port is None:
            msg = f"the simulated teacher names no port: {line}"
            raise Failed(msg)
        say(f"the teacher is SIMULATED: {' '.join(flags)}, port {port} of this host")
        yield port
    finally:
        process.terminate()
        process.wait(20)
