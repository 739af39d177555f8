"""`python -m tests.faults.odd_worker`: the worker as it is, in a process in which something is not as it should be.

ODD_CLOCK_S shifts every clock that tells the time of day. SIGUSR1 blocks the main thread, and with it the
event loop, for ODD_BLOCK_S; other threads run on.
"""

from __future__ import annotations

import datetime as dt
import os
import runpy
import signal
import time
from typing import Any


class ClockOfAnyDatetime(type):
    """What C code makes are plain datetimes, which must pass for the shifted class's instances."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, REAL_DATETIME)


REAL_DATETIME = dt.datetime


def shift_clocks(shift_s: float) -> None:
    real_time, real_time_ns = time.time, time.time_ns

    class Shifted(REAL_DATETIME, metaclass=ClockOfAnyDatetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return REAL_DATETIME.fromtimestamp(real_time() + shift_s, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return REAL_DATETIME.fromtimestamp(real_time() + shift_s, dt.UTC).replace(tzinfo=None)

    time.time = lambda: real_time() + shift_s
    time.time_ns = lambda: real_time_ns() + int(shift_s * 1e9)
    dt.datetime = Shifted  # type: ignore[misc]
    assert abs(dt.datetime.now(dt.UTC).timestamp() - real_time() - shift_s) < 1


if __name__ == "__main__":
    block_s = float(os.environ.get("ODD_BLOCK_S", "0"))
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(block_s))
    if shift := float(os.environ.get("ODD_CLOCK_S", "0")):
        shift_clocks(shift)
    runpy.run_module("workers", run_name="__main__")
