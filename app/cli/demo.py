"""limbeck demo: the whole way on example seeds, from nothing to a JSONL file."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.access.keys import ensure_admin_key
from app.cli.children import Children, free_port
from app.cli.client import Api
from app.cli.data import push_all, show_answer
from app.cli.local import running_local_teacher
from app.cli.output import err, out
from app.cli.serve import check_port, start_children, wait_for_signal
from app.cli.show import funnel_table, sample_panel
from app.database import resolve_dsn
from app.errors import LimbeckError
from app.migrate import upgrade
from app.settings import Settings, load_settings

SHOWN_SAMPLES = 3
POLL_S = 0.5
LINE_S = 5.0
GIVE_UP_S = 30.0
# What suits a model of 135 million parameters: little room to ramble, and tags that it is held to.
SMALL_MODEL_RECIPE: dict[str, Any] = {
    "reasoning": "elicited",
    "elicitation": {"paragraphs": False},
    "sampling": {"temperature": 0.4, "top_p": 0.9, "repetition_penalty": 1.05, "max_tokens": 220},
    "max_attempts": 1,
}
OWN_TEACHER_RECIPE: dict[str, Any] = {"sampling": {"temperature": 0.7, "max_tokens": 2048}, "max_attempts": 2}


def demo(
    to: Annotated[Path, typer.Option("--out", "-o", help="The JSONL file to write.")] = Path("demo.jsonl"),
    seeds: Annotated[
        Path | None, typer.Option(help="Seeds of your own instead of the examples.", exists=True, dir_okay=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all running until Ctrl-C.")] = False,
) -> None:
    """Start what is missing, push example seeds, and write what the teacher made of them.

    Uses LIMBECK_TEACHER_URL if it is set, and a small model on this machine's CPU if not.
    """
    began = time.monotonic()
    settings = load_settings()
    source = seeds or example_seeds()
    own_teacher = settings.teacher_url is not None or settings.teachers_file is not None
    _check_writable(to)
    settings = settings.model_copy(update={"port": settings.port if keep else free_port(), "host": "127.0.0.1"})
    check_port(settings)
    with ExitStack() as stack:
        err.print("[bold]1. the teacher[/bold]")
        teacher_env = stack.enter_context(running_local_teacher(settings, wanted=not own_teacher))
        if own_teacher:
            err.print(f"  yours: {settings.teacher_url or settings.teachers_file}", style="dim")
        err.print("[bold]2. Postgres, API and worker[/bold]")
        children, api = _start(stack, settings, teacher_env)
        err.print("[bold]3. seeds in, samples out[/bold]")
        name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        api.create(name, OWN_TEACHER_RECIPE if own_teacher else SMALL_MODEL_RECIPE)
        stack.callback(_abandon, api, name)
        show_answer(push_all(api, name, iter([source.read_bytes()])))
        view = follow(api, name, children)
        written = api.export(name, to)
        out.print()
        out.print(funnel_table(view))
        for sample in api.samples(name, verdict="accepted", limit=SHOWN_SAMPLES):
            out.print(sample_panel(sample))
        out.print(f"[bold]{written} samples in {to}[/bold], {time.monotonic() - began:.0f} s in all")
        _say_what_next(settings, name, keep=keep)
        if keep:
            wait_for_signal(children)


def example_seeds() -> Path:
    """examples/seeds.jsonl of this checkout, or the copy that the wheel carries.

    Raises:
        LimbeckError: neither is there.
    """
    package = Path(__file__).parents[1]
    for path in (package.parent / "examples" / "seeds.jsonl", package / "examples" / "seeds.jsonl"):
        if path.exists():
            return path
    msg = "the example seeds are missing from this installation; name a file of yours with --seeds"
    raise LimbeckError(msg)


def _check_writable(path: Path) -> None:
    """Now, and not after all the work."""
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as exc:
        msg = f"--out {path} cannot be written: {exc.strerror}"
        raise LimbeckError(msg) from exc


def _abandon(api: Api, name: str) -> None:
    """An interrupted demo cancels its own dataset, which would else be worked on at the next start."""
    with suppress(LimbeckError):
        if api.dataset(name)["state"] == "running":
            api.cancel(name)


def _start(stack: ExitStack, settings: Settings, teacher_env: dict[str, str]) -> tuple[Children, Api]:
    dsn = asyncio.run(resolve_dsn(settings))
    asyncio.run(upgrade(dsn))
    key, _ = ensure_admin_key(settings)
    children = stack.enter_context(Children(settings.data_dir.resolve() / "logs"))
    start_children(children, settings, key, teacher_env)
    api = stack.enter_context(Api(f"http://127.0.0.1:{settings.port}", key))
    children.wait_ready(api)
    return children, api


def follow(api: Api, name: str, children: Children) -> dict[str, Any]:
    """Show progress until nothing is queued or leased; returns the last view."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    shown_at = moved_at = time.monotonic()
    said: set[str] = set()
    settled = -1
    with Progress(*columns, console=err, transient=False) as progress:
        task = progress.add_task("seeds", total=None, pace="")
        while True:
            children.check()
            view = api.dataset(name)
            counts, samples = view["seeds"], view["samples"]
            pace = f"{view['rate']['completion_tokens_per_s']:.0f} tokens/s, {samples['accepted']} accepted, {samples['rejected']} rejected"
            if counts["done"] + counts["failed"] + counts["cancelled"] != settled or view["attempts"]["ok"]:
                moved_at = time.monotonic()
            settled = counts["done"] + counts["failed"] + counts["cancelled"]
            for warning in [warning for warning in view["warnings"] if warning not in said]:
                said.add(warning)
                err.print(f"  ! {warning}", style="yellow", markup=False)
            if view["warnings"] and time.monotonic() - moved_at > GIVE_UP_S:
                msg = f"nothing was answered for {GIVE_UP_S:g} s: {view['warnings'][0]}"
                raise LimbeckError(msg)
            progress.update(task, total=counts["total"], completed=settled, pace=pace)
            if not err.is_terminal and time.monotonic() - shown_at > LINE_S:
                err.print(f"  {settled}/{counts['total']} seeds, {pace}", style="dim")
                shown_at = time.monotonic()
            if view["state"] != "running":
                return view
            time.sleep(POLL_S)


def _say_what_next(settings: Settings, name: str, *, keep: bool) -> None:
    out.print("\nWhat next:")
    if keep:
        out.print(
            f"  it stays up at http://127.0.0.1:{settings.port}; another terminal: limbeck status {name}; Ctrl-C stops it"
        )
    else:
        out.print("  limbeck demo --keep                      leave it running and look around")
    out.print("  LIMBECK_TEACHER_URL=http://… LIMBECK_TEACHER_MODEL=… limbeck demo   the same with your own vLLM")
    out.print("  limbeck up, then: limbeck seeds push my-seeds.jsonl -d my-dataset; limbeck export my-dataset")
