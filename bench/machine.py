"""What every table of figures stands under: machine, commit, command, date."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def heading(command: str) -> str:
    """Two lines of Markdown."""
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, check=False, text=True).stdout.strip()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        f"{machine}, commit {commit},\n{time.strftime('%Y-%m-%d')}, `{command}`; teachers are simulated and share the cores.\n"
    )
