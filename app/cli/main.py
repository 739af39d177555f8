"""limbeck: the command line's composition root."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from app import __version__
from app.cli import data, demo, local, serve
from app.cli.output import err, out
from app.errors import LimbeckError

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distil an open-weights teacher into a curated instruction dataset, inside your own network.",
)
for command in (serve.up, serve.api, serve.worker, serve.migrate, local.teacher, demo.demo, data.status, data.export):
    cli.command()(command)
cli.add_typer(data.seeds, name="seeds")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"limbeck {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    _version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Distil an open-weights teacher into a curated instruction dataset, inside your own network."""


def run() -> None:
    """Entry point: our own errors are a line on stderr and status 2, never a traceback."""
    # A polite stop unwinds like an error does: children are stopped, the embedded Postgres too.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli()
    except LimbeckError as exc:
        err.print(f"limbeck: {exc.detail}", style="red", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _terminated(_number: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    run()
