"""limbeck teacher: a small real model on this machine's CPU; and the same for `up` and `demo`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.cli.output import err, out
from app.errors import LimbeckError
from app.local_teacher import LocalTeacher, LocalTeacherError, prepare_environment, prepare_weights
from app.settings import Settings, load_settings

READY_S = 300.0
DEFAULT_PORT = 8001


def teacher(port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DEFAULT_PORT) -> None:
    """Install vLLM for the CPU (once) and serve SmolLM2-135M-Instruct until Ctrl-C."""
    settings = load_settings()
    with running_local_teacher(settings, wanted=True, port=port) as env:
        out.print("# the teacher is up; in another terminal:")
        for name, value in env.items():
            out.print(f"export {name}={value}", markup=False)
        out.print("limbeck up")
        err.print("Ctrl-C stops it.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            err.print("stopping the teacher")


@contextmanager
def running_local_teacher(settings: Settings, *, wanted: bool, port: int = 0) -> Iterator[dict[str, str]]:
    """The environment that names the local teacher while it runs; empty when it is not wanted.

    Raises:
        LimbeckError: it cannot be installed or started; the message says what to do.
    """
    if not wanted:
        yield {}
        return
    root = settings.data_dir.resolve() / "local-teacher"
    with asyncio.Runner() as runner:
        try:
            python = prepare_environment(root, _step)
            weights = prepare_weights(root, python, _step)
            served = LocalTeacher(root, python, weights, port)
            runner.run(served.start())
            try:
                runner.run(served.wait_ready(READY_S, _step))
                yield {
                    "LIMBECK_TEACHER_URL": served.base_url,
                    "LIMBECK_TEACHER_MODEL": served.model,
                    "LIMBECK_TEACHER_REASONING": "elicited",
                    "LIMBECK_TEACHER_LICENCE": served.licence,
                }
            finally:
                runner.run(served.stop())
        except LocalTeacherError as exc:
            raise LimbeckError(str(exc)) from exc


def _step(words: str) -> None:
    err.print(f"  {words}", style="dim", markup=False)
