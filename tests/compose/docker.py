"""Docker and Compose, by their command lines: v2 if it is there, else docker-compose 1.29.2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND_S = 180.0
UP_S = 300.0


class Failed(Exception):
    """The words say what is missing or was not as it should be."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Compose:
    """One project of docker-compose.yml, with an environment of its own."""

    command: tuple[str, ...]
    project: str
    env_file: Path
    variables: dict[str, str]

    def run(self, *arguments: str, timeout_s: float = COMMAND_S) -> str:
        """Its standard output.

        Raises:
            Failed: it did not end with status 0 in time; carries the end of its output.
        """
        line = [*self.command, "--env-file", str(self.env_file), "-p", self.project, *arguments]
        return run(line, env={**clean_environment(), **self.variables}, timeout_s=timeout_s)

    def containers(self, service: str) -> list[str]:
        """Ids, stopped ones too."""
        label = f"label=com.docker.compose.project={self.project}"
        names = ("--filter", label, "--filter", f"label=com.docker.compose.service={service}")
        return run(["docker", "ps", "-aq", *names]).split()

    def inspect(self, service: str) -> dict[str, Any]:
        """The service's only container, as `docker inspect` has it."""
        ids = self.containers(service)
        if len(ids) != 1:
            msg = f"{service} has {len(ids)} containers, not one"
            raise Failed(msg)
        found: dict[str, Any] = json.loads(run(["docker", "inspect", ids[0]]))[0]
        return found

    def left(self) -> list[str]:
        """Containers, volumes and networks that carry the project's label."""
        label = f"label=com.docker.compose.project={self.project}"
        kinds = (("docker", "ps", "-a"), ("docker", "volume", "ls"), ("docker", "network", "ls"))
        return [name for kind in kinds for name in run([*kind, "-q", "--filter", label]).split()]


def run(command: list[str], *, env: dict[str, str] | None = None, timeout_s: float = COMMAND_S) -> str:
    """Its standard output.

    Raises:
        Failed: it did not end with status 0 in time; carries the end of what it said.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as exc:
        msg = f"`{shown}` took longer than {timeout_s:g} s"
        raise Failed(msg) from exc
    if done.returncode != 0:
        said = "\n".join(text[-4000:].strip() for text in (done.stdout, done.stderr))
        raise Failed(f"`{shown}` ended with status {done.returncode}\n{said}".rstrip())
    return done.stdout


def clean_environment() -> dict[str, str]:
    """This process's, without what would turn the test's project into somebody's own; pip's settings stay."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("LIMBECK_", "COMPOSE_"))}


def compose_command() -> tuple[str, ...]:
    """Compose v2 if it is there, else docker-compose.

    Raises:
        Failed: Docker or Compose is missing, or the engine does not answer.
    """
    if shutil.which("docker") is None:
        raise Failed("docker is not installed: this test builds and runs real containers")
    try:
        run(["docker", "info"], timeout_s=30)
    except Failed as exc:
        msg = f"the Docker engine does not answer; is it running, and may this user use it?\n{exc}"
        raise Failed(msg) from exc
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ("docker", "compose")
    if shutil.which("docker-compose") is None:
        raise Failed("neither `docker compose` (v2) nor `docker-compose` is installed")
    return ("docker-compose",)


def docker_version(command: tuple[str, ...]) -> str:
    engine = run(["docker", "version", "--format", "{{.Server.Version}}"]).strip()
    compose = run([*command, "version", "--short"]).strip()
    return f"Docker engine {engine}, {' '.join(command)} {compose}"


def health(compose: Compose, service: str) -> str:
    return str(compose.inspect(service)["State"]["Health"]["Status"])
