"""docker-compose.yml and the Dockerfile, for real: `python -m tests.compose.drive`, or `make compose-test`.

Builds the image, brings the project up under a name of its own on a free port, pushes seeds, restarts the
worker in the middle, and checks that nothing is lost and that the export is whole. The teacher is the
simulated vLLM on this host, or the real one that LIMBECK_TEACHER_URL and LIMBECK_TEACHER_MODEL name.
Nothing is left behind but the image. Docker's Compose v2 and docker-compose 1.29.2 both do.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.cli.children import free_port
from app.cli.client import Api
from app.errors import LimbeckError
from tests.compose.checks import (
    check_containers,
    check_end,
    check_export,
    check_funnel,
    check_refusals,
    check_stop,
    check_teacher,
    expect,
    settled,
)
from tests.compose.docker import ROOT, UP_S, Compose, Failed, compose_command, docker_version, health, run, say
from tests.compose.teacher import teacher

IMAGE = "limbeck:compose-test"
BUILD_S = 1800.0
READY_S = 120.0
POLL_S = 0.5
LINE_S = 5.0
SIMULATED_SEEDS = 400


@contextmanager
def project(command: tuple[str, ...], variables: dict[str, str]) -> Iterator[tuple[Compose, str, str]]:
    """The project (not up yet), its URL and its admin key. Whatever came of it is taken down."""
    with tempfile.TemporaryDirectory(prefix="limbeck-compose-") as made:
        directory, port = Path(made), free_port()
        run([str(ROOT / "scripts" / "make-secrets"), str(directory / "secrets")])
        settings = {
            "LIMBECK_IMAGE": IMAGE,
            "LIMBECK_PORT": str(port),
            "LIMBECK_SECRETS_DIR": str(directory / "secrets"),
            "LIMBECK_WORKER_MAX_IN_FLIGHT": "32",
            **variables,
        }
        # Empty, and named, so that this checkout's .env does not speak in the test.
        env_file = directory / "env"
        env_file.touch()
        compose = Compose(command, f"limbeck-test-{secrets.token_hex(4)}", env_file, settings)
        say(f"project {compose.project} on port {port}")
        key = (directory / "secrets" / "admin_key").read_text().strip()
        try:
            yield compose, f"http://127.0.0.1:{port}", key
        except BaseException as exc:
            say(f"stopped by {exc!r}; the containers' last words:")
            show_logs(compose)
            raise
        finally:
            take_down(compose)


def show_logs(compose: Compose) -> None:
    try:
        say(compose.run("ps"))
        say(compose.run("logs", "--no-color", "--tail", "40"))
    except Failed as exc:
        say(f"no logs: {exc}")


def take_down(compose: Compose) -> None:
    """Raises Failed if anything of the project is still there."""
    say("taking it down")
    compose.run("down", "-v", "--remove-orphans", timeout_s=UP_S)
    left = compose.left()
    if left:
        msg = f"`down -v` left {', '.join(left)}"
        raise Failed(msg)
    say("  ok: no container, volume or network of the project is left")


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            msg = f"{what}: not within {timeout_s:g} s"
            raise Failed(msg)
        time.sleep(POLL_S)


def bring_up(compose: Compose, api: Api) -> None:
    say("building the image (some minutes the first time)")
    began = time.monotonic()
    # The classic builder, which docker-compose 1.29.2 uses, keeps the container of a step that failed.
    flags = ["--force-rm"] if compose.command == ("docker-compose",) else []
    compose.run("build", *flags, "migrate", timeout_s=BUILD_S)
    size = int(run(["docker", "image", "inspect", "-f", "{{.Size}}", IMAGE]))
    say(f"  {IMAGE}: {size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s")
    say("up")
    began = time.monotonic()
    compose.run("up", "-d", timeout_s=UP_S)
    wait_until("the API's /readyz over the published port", api.ready, READY_S)
    say(f"  ready {time.monotonic() - began:.0f} s later")
    wait_until("the API's own health check", lambda: health(compose, "api") == "healthy", READY_S)
    say(f"  ok: postgres {health(compose, 'postgres')}, api {health(compose, 'api')}")


def seed_lines(*, simulated: bool) -> list[bytes]:
    """The examples; and where an answer costs nothing, enough more that a restart falls into the middle."""
    lines = (ROOT / "examples" / "seeds.jsonl").read_bytes().splitlines()
    more = range(SIMULATED_SEEDS if simulated else 0)
    return [*lines, *(json.dumps({"instruction": f"Name one use of item {number}.", "input": ""}).encode() for number in more)]


def push(api: Api, name: str, *, simulated: bool) -> int:
    """Returns how many seeds were acknowledged as queued."""
    lines = seed_lines(simulated=simulated)
    api.create(name, {"sampling": {"max_tokens": 512}, "max_attempts": 2})
    answer = api.push(name, (line + b"\n" for line in lines))
    queued, duplicates, rejected = answer["queued"], answer["duplicates"], answer["rejected_total"]
    told = f"{answer['received']} seeds = {queued} queued + {duplicates} duplicates + {rejected} rejected"
    expect(answer["received"] == len(lines) == queued + duplicates + rejected, told)
    return int(queued)


def restart_worker(compose: Compose, api: Api, name: str, queued: int, patience_s: float) -> None:
    """In the middle: some seeds are settled, some are not."""
    wait_until("the first seeds done", lambda: settled(api.dataset(name)) > 0, patience_s)
    before = api.dataset(name)
    expect(before["state"] == "running", f"restarting the worker at {settled(before)} of {queued} seeds")
    began = time.monotonic()
    compose.run("restart", "worker", timeout_s=UP_S)
    say(f"  restarted in {time.monotonic() - began:.1f} s")
    after = api.dataset(name)
    check_funnel(after, queued)
    expect(settled(after) >= settled(before), f"after the restart {settled(after)} are settled, none went back")


def follow(api: Api, name: str, queued: int, patience_s: float) -> dict[str, Any]:
    """The last view, once nothing is queued or leased; Failed if nothing moves for `patience_s`."""
    best, moved_at, shown_at = -1, time.monotonic(), 0.0
    while True:
        view = api.dataset(name)
        check_funnel(view, queued)
        if view["state"] == "idle":
            return view
        now = time.monotonic()
        if settled(view) > best:
            best, moved_at = settled(view), now
        if now - moved_at > patience_s:
            msg = f"nothing moved for {patience_s:g} s: {view}"
            raise Failed(msg)
        if now - shown_at > LINE_S:
            say(f"  {best} of {queued} seeds, {view['samples']['accepted']} accepted")
            shown_at = now
        time.sleep(POLL_S)


def drive(patience_s: float) -> None:
    command = compose_command()
    say(docker_version(command))
    name = "compose-test"
    with teacher() as taught, project(command, taught.variables) as (compose, url, key), Api(url, key) as api:
        bring_up(compose, api)
        check_containers(compose)
        check_teacher(compose, taught.variables["LIMBECK_TEACHER_URL"])
        check_refusals(url)
        queued = push(api, name, simulated=taught.simulated)
        restart_worker(compose, api, name, queued, patience_s)
        view = follow(api, name, queued, patience_s)
        check_end(view, queued, simulated=taught.simulated)
        check_export(api, name, view["samples"]["accepted"])
        check_stop(compose)
    say(f"compose test: passed ({'simulated' if taught.simulated else 'real'} teacher)")


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.compose.drive", description=__doc__)
    arguments.add_argument("--patience-s", type=float, default=300.0, help="give up when nothing moves for so long")
    options = arguments.parse_args()
    # As Ctrl-C does, so that what is up is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        drive(options.patience_s)
    except (Failed, LimbeckError, httpx.HTTPError) as exc:
        say(f"compose test: FAILED: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
