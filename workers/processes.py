"""`--processes N`: so many workers on this machine, one a core, since a Python process uses no more than one.

Nothing is between them but Postgres. This process only starts them, passes SIGTERM on, and starts one that died anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from app.cli.children import die_with_parent
from app.logs import get_logger

logger = get_logger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
WELL_AFTER_S = 60.0
BAD_CONFIGURATION = 2


async def supervise(count: int, in_flight: list[int]) -> int:
    """Run `count` workers until SIGTERM or SIGINT; returns the exit status.

    `in_flight` is each one's part of LIMBECK_WORKER_MAX_IN_FLIGHT. A worker that ends by itself is started again after
    1, 2, 4 … 30 s; one that finds its configuration unusable ends them all.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keepers = [asyncio.create_task(_keep(index, in_flight[index], stop)) for index in range(count)]
    statuses = await asyncio.gather(*keepers)
    return max(statuses)


async def _keep(index: int, in_flight: int, stop: asyncio.Event) -> int:
    pause_s = FIRST_PAUSE_S
    while True:
        env = {**os.environ, "LIMBECK_WORKER_PROCESSES": "1", "LIMBECK_WORKER_MAX_IN_FLIGHT": str(in_flight)}
        began = asyncio.get_running_loop().time()
        child = await asyncio.create_subprocess_exec(sys.executable, "-m", "workers", env=env, preexec_fn=die_with_parent)
        status = await _until_ended(child, stop)
        if stop.is_set():
            return max(status, 0)
        if status == BAD_CONFIGURATION:
            stop.set()
            return status
        pause_s = FIRST_PAUSE_S if asyncio.get_running_loop().time() - began > WELL_AFTER_S else pause_s
        logger.error("worker_process_ended", process=index, status=status, started_again_in_s=pause_s)
        try:
            await asyncio.wait_for(stop.wait(), pause_s)
        except TimeoutError:
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        else:
            return 0


async def _until_ended(child: asyncio.subprocess.Process, stop: asyncio.Event) -> int:
    ended, stopped = asyncio.ensure_future(child.wait()), asyncio.ensure_future(stop.wait())
    await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        child.terminate()
    return await ended


def divide(total: int, count: int) -> list[int]:
    """`total` calls in flight as `count` whole parts that add up to it; none is 0."""
    return [max(1, total // count + (index < total % count)) for index in range(count)]
