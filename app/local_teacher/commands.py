"""Runs one long command: every line into a log, some of them to the caller."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from app.local_teacher.errors import LocalTeacherError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    on_line: Callable[[str], None] = lambda _line: None,
    settings: Mapping[str, str] | None = None,
    held_lock: int | None = None,
) -> tuple[int, str]:
    """Return the exit status and all output; a command that cannot start raises.

    `held_lock` is a descriptor that the child inherits. An flock belongs to the
    open file and not to the process, so a child that outlives us (kill -9) still
    keeps others out of the folder that it writes to.
    """
    output: list[str] = []
    try:
        with (
            log.open("a", encoding="utf-8") as sink,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=os.environ | dict(settings or {}),
                pass_fds=() if held_lock is None else (held_lock,),
            ) as process,
        ):
            sink.write(f"$ {' '.join(command)}\n")
            for line in process.stdout or ():
                sink.write(line)
                sink.flush()
                output.append(line)
                on_line(line.strip())
    except OSError as error:
        message = f"Could not run {command[0]}: {error}. See {log}."
        raise LocalTeacherError(message) from error
    return process.returncode, "".join(output)
