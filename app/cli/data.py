"""limbeck seeds push, status, export: working with a dataset over the API."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from app.cli.client import Api, ApiProblem
from app.cli.output import err, live_console, out
from app.cli.show import funnel_table
from app.errors import LimbeckError
from app.settings import load_settings

Url = Annotated[str | None, typer.Option("--url", help="Where Limbeck is; else LIMBECK_URL, else this machine.")]
CHUNK_BYTES = 256 * 1024
WATCH_S = 1.0

seeds = typer.Typer(no_args_is_help=True, help="Seeds in.")


@seeds.command("push")
def push(
    file: Annotated[Path, typer.Argument(help="Seeds, one JSON object a line; - for standard input.", allow_dash=True)],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset; made if it is not there.")],
    recipe: Annotated[Path | None, typer.Option(help="The recipe (JSON) for a dataset that is made.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="A repeat with the same key gives the first answer.")] = None,
    url: Url = None,
) -> None:
    """Push a file of seeds. Exits with 1 if a line was rejected; the others are in."""
    _check_readable(file)
    with Api.from_settings(load_settings(), url) as api:
        _ensure_dataset(api, dataset, recipe)
        answer = push_all(api, dataset, _chunks(file), idempotency_key)
    show_answer(answer)
    if answer["rejected_total"]:
        raise typer.Exit(1)


def push_all(api: Api, dataset: str, chunks: Iterator[bytes], key: str | None = None) -> dict[str, Any]:
    """The answer's counts and rejects, also when not one seed was good."""
    try:
        return api.push(dataset, chunks, key)
    except ApiProblem as exc:
        if "received" not in exc.body:
            raise
        return {**exc.body, "rejected": exc.body["errors"]}


def show_answer(answer: dict[str, Any]) -> None:
    """What became of the seeds, and every rejected line that the API names."""
    out.print(
        f"{answer['received']} received = {answer['queued']} queued + {answer['duplicates']} duplicates + {answer['rejected_total']} rejected"
    )
    for rejected in answer["rejected"]:
        field = f", {rejected['field']}" if rejected["field"] else ""
        err.print(f"line {rejected['line']}{field}: {rejected['error']}", style="yellow", markup=False)
    hidden = answer["rejected_total"] - len(answer["rejected"])
    if hidden > 0:
        err.print(f"… and {hidden} more")
    if not answer["received"]:
        err.print("no seeds in it: a seed is one JSON object a line", style="yellow")


def status(
    name: Annotated[str, typer.Argument(help="The dataset.")],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it is idle.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The API's answer as it is.")] = False,
    url: Url = None,
) -> None:
    """A dataset's progress and funnel."""
    with Api.from_settings(load_settings(), url) as api:
        if as_json:
            out.print_json(json.dumps(api.dataset(name)))
            return
        if not watch:
            out.print(funnel_table(api.dataset(name)))
            return
        with Live(console=live_console(), refresh_per_second=4) as live:
            while True:
                view = api.dataset(name)
                live.update(funnel_table(view))
                if view["state"] != "running":
                    return
                time.sleep(WATCH_S)


def export(
    name: Annotated[str, typer.Argument(help="The dataset.")],
    to: Annotated[Path | None, typer.Option("--out", "-o", help="The file; by default NAME.jsonl.")] = None,
    format_name: Annotated[str, typer.Option("--format", "-f", help="alpaca")] = "alpaca",
    url: Url = None,
) -> None:
    """Write what is accepted now to a file, which appears only when it is whole."""
    path = to or Path(f"{name}.jsonl".replace("/", "_"))
    with Api.from_settings(load_settings(), url) as api:
        written = api.export(name, path, format_name)
    err.print(f"{written} samples in {path}")


def _ensure_dataset(api: Api, name: str, recipe: Path | None) -> None:
    try:
        api.dataset(name)
    except ApiProblem as exc:
        if exc.http_status != 404:  # noqa: PLR2004 -- not found
            raise
        api.create(name, _read_recipe(recipe))
        err.print(f"made dataset {name}")
        return
    if recipe is not None:
        msg = f"dataset {name!r} is there already and keeps its recipe; leave --recipe out or choose another name"
        raise LimbeckError(msg)


def _read_recipe(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        msg = f"the recipe {path} cannot be read: {exc}"
        raise LimbeckError(msg) from exc
    if not isinstance(recipe, dict):
        msg = f"the recipe {path} must be a JSON object"
        raise LimbeckError(msg)
    return recipe


def _check_readable(path: Path) -> None:
    """Before a dataset is made for a file that is not there."""
    if str(path) != "-":
        next(_chunks(path), None)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with ExitStack() as stack:
            file = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise LimbeckError(msg) from exc
