"""limbeck up, api, worker, migrate: the processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from typing import Annotated

import typer
import uvicorn

from app.access.keys import ensure_admin_key
from app.cli.children import Children
from app.cli.client import Api, here
from app.cli.local import running_local_teacher
from app.cli.output import err
from app.database import resolve_dsn
from app.errors import ConfigurationError
from app.logs import configure_logs
from app.main import create_app
from app.migrate import newest_revision, upgrade
from app.settings import Settings, load_settings
from app.teachers.config import load_teachers


def api() -> None:
    """Serve the REST API (needs an admin key and a migrated database)."""
    settings = load_settings()
    configure_logs(settings.log_level)
    # uvicorn gives the signal back once it has shut down; ended by it, no exit hook would run, and the
    # embedded Postgres would not learn that this process is gone.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=10,
        date_header=False,
    )


def worker(
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Worker processes, one a core; else LIMBECK_WORKER_PROCESSES.", show_default="1"),
    ] = None,
) -> None:
    """Run a worker until SIGTERM, which drains it."""
    if processes is not None:
        os.environ["LIMBECK_WORKER_PROCESSES"] = str(processes)
    os.execv(sys.executable, [sys.executable, "-m", "workers"])  # noqa: S606 -- our own module


def migrate() -> None:
    """Bring the database to this release's schema."""
    settings = load_settings()

    async def run() -> None:
        await upgrade(await resolve_dsn(settings))

    asyncio.run(run())
    err.print(f"the database is at revision {newest_revision()}")


def up(
    local_teacher: Annotated[
        bool, typer.Option("--local-teacher", help="Serve a small real model on this machine's CPU as the teacher.")
    ] = False,
) -> None:
    """Everything on this machine: embedded Postgres, migrations, the API and one worker."""
    settings = load_settings()
    configure_logs(settings.log_level)
    check_port(settings)
    key, key_file = ensure_admin_key(settings)
    with running_local_teacher(settings, wanted=local_teacher) as teacher_env:
        if not teacher_env:
            load_teachers(settings)
        migrate()
        with Children() as children:
            start_children(children, settings, key, teacher_env)
            url = here(settings)
            with Api(url, key) as client:
                children.wait_ready(client)
            err.print(f"\n[bold]Limbeck is up[/bold] at {url}")
            err.print(f"admin key: {'from LIMBECK_ADMIN_KEY' if key_file is None else f'in {key_file}'}")
            if not teacher_env and settings.teacher_url is None and settings.teachers_file is None:
                err.print(
                    "[yellow]no teacher is configured[/yellow]: set LIMBECK_TEACHER_URL and LIMBECK_TEACHER_MODEL, or use --local-teacher; no worker runs"
                )
            err.print("Ctrl-C stops it.")
            wait_for_signal(children)


def check_port(settings: Settings) -> None:
    """Before anything is started.

    Raises:
        ConfigurationError: somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            msg = f"port {settings.port} on {settings.host} cannot be used ({exc.strerror}): stop what listens there, or set LIMBECK_PORT or LIMBECK_HOST"
            raise ConfigurationError(msg) from exc


def start_children(children: Children, settings: Settings, key: str, teacher_env: dict[str, str]) -> None:
    """The API, and a worker if there is a teacher to work with."""
    env = {
        "LIMBECK_DATA_DIR": str(settings.data_dir.resolve()),
        "LIMBECK_HOST": settings.host,
        "LIMBECK_PORT": str(settings.port),
        "LIMBECK_ADMIN_KEY": key,
        **teacher_env,
    }
    children.start("api", ["app.cli.main", "api"], env)
    if teacher_env or settings.teacher_url or settings.teachers_file:
        children.start("worker", ["workers"], env)


def wait_for_signal(children: Children) -> None:
    """Until SIGINT or SIGTERM; raises LimbeckError if a child ends before."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while not stop.wait(0.5):
        children.check()
