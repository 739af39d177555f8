"""The worker process's composition root: settings, clients, signals. `python -m workers`, or `limbeck worker`.

`LIMBECK_WORKER_PROCESSES` above 1 makes this process the keeper of so many others (workers/processes.py).
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from app.database import Database, resolve_dsn
from app.errors import ConfigurationError
from app.logs import configure_logs
from app.settings import Settings, load_settings
from app.teachers.config import load_teachers
from workers.processes import divide, supervise
from workers.worker import Worker


async def main(settings: Settings) -> None:
    teachers = load_teachers(settings)
    if not teachers.by_name:
        msg = "no teacher is configured: set LIMBECK_TEACHER_URL and LIMBECK_TEACHER_MODEL, or LIMBECK_TEACHERS_FILE"
        raise ConfigurationError(msg)
    database = Database(await resolve_dsn(settings), application_name="limbeck-worker", lookups=True)
    worker = Worker(
        database,
        teachers,
        max_in_flight=settings.worker_max_in_flight,
        lease_s=settings.lease_s,
        heartbeat_s=settings.heartbeat_s,
        drain_s=settings.drain_s,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop.set)
    try:
        await worker.run()
    finally:
        await database.close()


def run() -> int:
    """Exit status 2 for a configuration that does not work, with the reason on stderr."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        count = settings.worker_processes
        if count > 1:
            return asyncio.run(supervise(count, divide(settings.worker_max_in_flight, count)))
        uvloop.run(main(settings))
    except ConfigurationError as exc:
        sys.stderr.write(f"limbeck: {exc.detail}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run())
