"""A virtual environment for each peer below .limbeck/bench, made from its hash-pinned lock on first use."""

from __future__ import annotations

import hashlib
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from venv import EnvBuilder

from app.local_teacher.commands import run_logged
from app.local_teacher.locking import exclusive
from bench.peers.registry import Peer

ROOT = Path(__file__).parents[2] / ".limbeck" / "bench"
INSTALL = (
    "-m",
    "pip",
    "install",
    "--no-input",
    "--progress-bar=off",
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
    "-r",
)


class NotInstalledError(Exception):
    """The peer's environment could not be made; the text says where to read why."""


def prepare(peer: Peer) -> Path:
    """The python of the peer's environment, which is made anew when its lock has changed. Raises NotInstalledError."""
    root = ROOT / peer.name
    with exclusive(root, say):
        venv, stamp = root / "venv", root / "venv" / "bench.stamp"
        digest = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode() + peer.lock.read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(venv, ignore_errors=True)
            say(f"Installing {peer.name} into {venv}.")
            EnvBuilder(symlinks=True).create(venv)
            install(venv / "bin" / "python", peer, root / "install.log")
            stamp.write_text(digest)
    return venv / "bin" / "python"


def install(python: Path, peer: Peer, log: Path) -> None:
    log.unlink(missing_ok=True)
    for arguments in (("-m", "ensurepip", "--default-pip"), (*INSTALL, str(peer.lock))):
        status, _ = run_logged((str(python), *arguments), log)
        if status:
            msg = f"not installed: {arguments[1]} exits {status}, see {log.relative_to(ROOT.parents[1])}"
            raise NotInstalledError(msg)


def installed_version(peer: Peer, python: Path) -> str:
    """As its own metadata has it, whatever the lock says."""
    return next(found.version for found in distributions(name=peer.distribution, path=site_packages(python)))


def site_packages(python: Path) -> list[str]:
    return [str(path) for path in python.parents[1].glob("lib/python*/site-packages")]


def encodings() -> Path | None:
    """Where litellm's wheel keeps the tokenizer tables that several peers would fetch from the net at run time."""
    return next(ROOT.glob("*/venv/lib/python*/site-packages/litellm/litellm_core_utils/tokenizers"), None)


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
