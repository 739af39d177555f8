"""A dataset's view, and samples, as a person reads them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

SHOWN_CHARS = 600


def funnel_table(view: dict[str, Any]) -> RenderableType:
    """Seeds, samples, attempts and tokens, each line adding up."""
    seeds, samples, attempts = view["seeds"], view["samples"], view["attempts"]
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    table.add_row(
        "seeds",
        str(seeds["total"]),
        _sum({state: seeds[state] for state in ("queued", "leased", "done", "failed", "cancelled")}),
    )
    table.add_row("attempts", str(attempts["total"]), _sum({"ok": attempts["ok"], **attempts["by_error"]}))
    table.add_row(
        "samples",
        str(samples["accepted"] + samples["rejected"]),
        _sum({"accepted": samples["accepted"], "rejected": samples["rejected"]}),
    )
    for reason, count in samples["by_reason"].items():
        table.add_row("", str(count), f"rejected: {reason}")
    tokens = view["tokens"]
    table.add_row(
        "tokens",
        str(tokens["prompt"] + tokens["completion"]),
        _sum({"prompt": tokens["prompt"], "completion": tokens["completion"]}),
    )
    rate = view["rate"]
    pace = f"{rate['samples_per_s']:.1f} samples/s, {rate['completion_tokens_per_s']:.0f} tokens/s"
    if view["eta_s"]:
        pace += f", about {view['eta_s']:.0f} s left"
    heading = Text.assemble((view["name"], "bold"), f"  {view['state']}  {pace}")
    teacher = view["teacher"]
    if teacher["level"] is not None:
        table.add_row("teacher", f"{teacher['in_flight']}", _teacher(view["recipe"]["teacher"], teacher))
    words: list[RenderableType] = [heading, table]
    if view["paused_because"]:
        words.append(Text(f"paused itself: {view['paused_because']}", style="yellow", overflow="fold"))
    words += [Text(f"! {warning}", style="yellow", overflow="fold") for warning in view["warnings"]]
    words += [
        Text(f"! {failed['seeds']} failed ({failed['error_class']}): {failed['example']}", style="yellow", overflow="fold")
        for failed in view["failures"]
    ]
    return Group(*words)


def _teacher(name: str, teacher: dict[str, Any]) -> str:
    words = f"calls in flight at {name}, level {teacher['level']:.0f} ({teacher['level_reason']})"
    if teacher["prefix_cache_hit_rate"] is not None:
        words += f", prefix cache hits {teacher['prefix_cache_hit_rate']:.0%}"
    return words


def sample_panel(sample: dict[str, Any]) -> RenderableType:
    """One sample: what was asked, how the teacher thought, what it answered."""
    asked = sample["instruction"] + (f"\n\n{sample['input']}" if sample["input"] else "")
    body = Table(show_header=False, box=None, padding=(0, 1))
    body.add_column(style="dim", no_wrap=True)
    body.add_column(overflow="fold")
    body.add_row("asked", Text(_short(asked)))
    if sample["reasoning"]:
        body.add_row("reasoning", Text(_short(sample["reasoning"]), style="italic"))
    body.add_row("answer", Text(_short(sample["response"])))
    return Panel(body, title=f"sample {sample['sample_id']}", title_align="left")


def _sum(parts: dict[str, int]) -> str:
    return "= " + " + ".join(f"{count} {name}" for name, count in parts.items())


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS].rstrip() + " …"
