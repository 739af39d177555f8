"""Runs one command, and ends its whole process tree when whoever started it is gone.

Run as a script with plain Python (`python warden.py GRACE_S COMMAND…`), so nothing but
the standard library is imported. Its standard input is a pipe that only the starter
holds open: the kernel closes it however the starter dies, kill -9 included. A stop and
a death are therefore one path. (PR_SET_PDEATHSIG would do less: it fires when the
*thread* that forked ends, and tells the first child only.)
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys


def main() -> int:
    """Run the command; return its exit status, or 0 if the starter let go first."""
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    # A session, hence a process group, of its own: one signal reaches the tree.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_for_end(child)
        return child.poll() or 0
    finally:
        _end(child, grace_s)


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)


def _wait_for_end(child: subprocess.Popen[bytes]) -> None:
    """Return once the command exited or the starter let go of the pipe."""
    exited = os.pidfd_open(child.pid)
    select.select([sys.stdin.fileno(), exited], [], [])


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """SIGTERM to the command, which tells its own children; after the grace, kill all."""
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Its children too, when it left without them. The group outlives its leader.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


if __name__ == "__main__":
    sys.exit(main())
