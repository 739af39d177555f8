"""The local teacher's own logic, with a stub in place of vLLM's environment: no network."""

from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.local_teacher import (
    LocalTeacher,
    LocalTeacherError,
    environment,
    prepare_environment,
    prepare_weights,
)
from app.local_teacher.command_line import settings, vllm_arguments
from app.local_teacher.warden import __file__ as warden_file

# Stands for the environment's python: notes what it is asked, and obeys files beside it.
STUB = """#!/bin/sh
here={root}
echo "$@" >> "$here/asked"
case "$*" in
  *torch.txt) [ -e "$here/no-torch" ] && echo "No matching distribution found for torch" && exit 1;;
  *vllm.txt) [ -e "$here/no-vllm" ] && echo "ERROR: hashes do not match" && exit 1;;
  *convert_weights.py*) [ -e "$here/no-weights" ] && echo "out of memory" && exit 3
    echo weights > "$2/model.safetensors";;
  *api_server*) echo "engine exploded"; exit 1;;
esac
exit 0
"""


class StubBuilder:
    """Makes a 'virtual environment' that holds the stub alone."""

    def __init__(self, **_options: object) -> None:
        pass

    def create(self, folder: Path) -> None:
        python = folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(STUB.format(root=folder.parent))
        python.chmod(python.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environment, "EnvBuilder", StubBuilder)
    monkeypatch.setattr(environment, "LOCKED_PYTHON", sys.version_info[:2])
    return tmp_path


def asked(root: Path) -> list[str]:
    """The commands that the stub was given, oldest first."""
    return (root / "asked").read_text().splitlines()


def ignore(_step: str) -> None:
    """Stands for a caller that shows no progress."""


def test_second_call_installs_nothing(root: Path) -> None:
    """A whole and current environment is returned without running anything."""
    first = prepare_environment(root, ignore)
    before = asked(root)
    steps: list[str] = []
    assert prepare_environment(root, steps.append) == first
    assert (asked(root), steps) == (before, [])


def test_every_install_is_pinned_by_hash(root: Path) -> None:
    """No install runs without hashes, or resolves anything by itself."""
    prepare_environment(root, ignore)
    installs = [line for line in asked(root) if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line and "--no-deps" in line for line in installs)


def test_interrupted_environment_is_made_again(root: Path) -> None:
    """An environment without its stamp is thrown away, files and all."""
    python = prepare_environment(root, ignore)
    (root / "venv" / "limbeck.stamp").unlink()
    leftover = root / "venv" / "leftover"
    leftover.touch()
    assert prepare_environment(root, ignore) == python
    assert not leftover.exists()
    assert (root / "venv" / "limbeck.stamp").exists()


def test_changed_lock_makes_the_environment_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp holds the locks' hash: other locks, another environment."""
    prepare_environment(root, ignore)
    before = len(asked(root))
    monkeypatch.setattr(environment, "lock_digest", lambda: "other")
    prepare_environment(root, ignore)
    assert len(asked(root)) == 2 * before


def test_vanished_python_makes_the_environment_again(root: Path) -> None:
    """A stamp does not vouch for a python that is gone."""
    python = prepare_environment(root, ignore)
    python.unlink()
    assert prepare_environment(root, ignore).exists()


def test_missing_cpu_torch_falls_back_and_warns(root: Path) -> None:
    """Without the CPU wheel the ordinary torch is taken, after a word on size and remedy."""
    (root / "no-torch").touch()
    steps: list[str] = []
    prepare_environment(root, steps.append)
    assert any("3 GB" in step and "PIP_FIND_LINKS" in step for step in steps)
    assert any(line.endswith("torch-default.txt") for line in asked(root))


def test_other_python_takes_the_ordinary_torch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU wheel's hash is for one Python: on another it is not even tried."""
    monkeypatch.setattr(environment, "LOCKED_PYTHON", (3, 1))
    prepare_environment(root, ignore)
    assert not any(line.endswith("/torch.txt") for line in asked(root))


def test_failed_install_says_why_and_where(root: Path) -> None:
    """The error quotes pip's last lines and names the log; no stamp is left."""
    (root / "no-vllm").touch()
    with pytest.raises(LocalTeacherError) as caught:
        prepare_environment(root, ignore)
    message = str(caught.value)
    assert "hashes do not match" in message
    assert str(root / "install.log") in message
    assert "hashes do not match" in (root / "install.log").read_text()
    assert not (root / "venv" / "limbeck.stamp").exists()


def test_locks_name_no_host() -> None:
    """Where packages come from is the user's own setting, never the locks'."""
    locks = list(environment.LOCKS.glob("*.txt"))
    assert len(locks) == 3
    assert not [lock for lock in locks if "://" in lock.read_text()]


def test_weights_are_converted_once(root: Path) -> None:
    """A second call finds the folder and its stamp."""
    python = prepare_environment(root, ignore)
    model = prepare_weights(root, python, ignore)
    before = asked(root)
    assert prepare_weights(root, python, ignore) == model == root / "model"
    assert asked(root) == before
    assert (model / "model.safetensors").exists()


def test_failed_conversion_leaves_no_model(root: Path) -> None:
    """A conversion that failed is named with its output, and is never used."""
    python = prepare_environment(root, ignore)
    (root / "no-weights").touch()
    with pytest.raises(LocalTeacherError, match="out of memory"):
        prepare_weights(root, python, ignore)
    assert not (root / "model").exists()
    (root / "no-weights").unlink()
    assert (prepare_weights(root, python, ignore) / "model.safetensors").exists()


async def start_and_wait(teacher: LocalTeacher) -> None:
    async with teacher:
        await teacher.wait_ready(20, ignore)


def test_early_exit_is_reported_with_the_log(root: Path) -> None:
    """A vLLM that ends at once raises with its last lines, long before the timeout."""
    teacher = LocalTeacher(root, prepare_environment(root, ignore), root / "model")
    with pytest.raises(LocalTeacherError, match="engine exploded"):
        asyncio.run(start_and_wait(teacher))


def test_taken_port_is_refused(root: Path) -> None:
    """A port that another server holds is an error, for its /health would answer ours."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        teacher = LocalTeacher(root, root / "python", root / "model", port)
        with pytest.raises(LocalTeacherError, match=str(port)):
            asyncio.run(teacher.start())


def test_stop_before_start_does_nothing(root: Path) -> None:
    """stop() needs no start() before it."""
    asyncio.run(LocalTeacher(root, root / "python", root / "model").stop())


def test_vllm_may_not_phone_home() -> None:
    """Whatever the user's environment says, vLLM runs offline and reports to nobody."""
    result = settings({"HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "7"})
    assert (result["HF_HUB_OFFLINE"], result["VLLM_NO_USAGE_STATS"]) == ("1", "1")
    assert result["OMP_NUM_THREADS"] == "7"
    assert "127.0.0.1" in vllm_arguments(Path("model"), "127.0.0.1", 1)


def is_alive(group: int) -> bool:
    """Whether the group has a process that runs; one that waits to be reaped does not."""
    for stat_file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = stat_file.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(its_group) == group and state not in "ZX":
            return True
    return False


def start_warden(script: str) -> subprocess.Popen[str]:
    """A warden with 0.2 s of grace over `sh -c script`."""
    return subprocess.Popen(
        [sys.executable, warden_file, "0.2", "/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_warden_ends_a_deaf_tree_when_its_pipe_closes() -> None:
    """Children that ignore SIGTERM are gone once the starter has let go."""
    deaf = "trap '' TERM; (trap '' TERM; echo ready $$; sleep 60) & wait"
    with start_warden(deaf) as warden:
        assert warden.stdin is not None
        assert warden.stdout is not None
        group = int(warden.stdout.readline().split()[1])
        warden.stdin.close()
        warden.wait(10)
    assert not is_alive(group)


def test_warden_passes_on_the_exit_status() -> None:
    """A command that ends by itself ends the warden with the same status."""
    with start_warden("exit 7") as warden:
        assert warden.wait(10) == 7


def test_warden_on_sigterm_ends_the_tree() -> None:
    """A signal to the warden itself leaves nothing behind either."""
    with start_warden("echo ready $$; sleep 60") as warden:
        assert warden.stdout is not None
        group = int(warden.stdout.readline().split()[1])
        warden.send_signal(signal.SIGTERM)
        warden.wait(10)
    assert not is_alive(group)
