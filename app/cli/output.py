"""How the commands speak: results on stdout, everything else on stderr."""

from __future__ import annotations

from rich.console import Console

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def live_console() -> Console:
    """For what is drawn again and again: it must wrap by itself, or long warnings lose their end."""
    return Console(highlight=False)
