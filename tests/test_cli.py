"""The command line, as a user runs it: processes, exit statuses, one line for every error."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from app.cli.children import free_port
from tests.support.processes import ROOT, process, simulated_env, simulated_teacher

PATIENCE_S = 45


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The environment of a running `limbeck up` with a simulated teacher; its end leaves nothing running."""
    async with simulated_teacher() as url:
        env = {"LIMBECK_DATA_DIR": str(tmp_path / "data"), "LIMBECK_PORT": str(free_port()), **simulated_env(url)}
        async with process("app.cli.main", "up", **env) as child:
            async with asyncio.timeout(PATIENCE_S):
                while (await limbeck(env, "status", "none"))[2] != "limbeck: HTTP 404: There is no dataset 'none' here.\n":
                    assert child.returncode is None, "`limbeck up` ended"
                    await asyncio.sleep(0.3)
            yield env
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), PATIENCE_S) == 0
    assert str(tmp_path) not in every_process()


def every_process() -> str:
    """All command lines of this machine, with their environments."""
    return subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout


async def limbeck(env: dict[str, str], *arguments: str, stdin: bytes = b"", cwd: Path = ROOT) -> tuple[int, str, str]:
    """(exit status, stdout, stderr)."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app.cli.main",
        *arguments,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate(stdin)
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


async def test_up_push_status_export(up: dict[str, str], tmp_path: Path) -> None:
    """The README's way; a bad line is named and costs exit status 1, and the export is whole."""
    key_file = Path(up["LIMBECK_DATA_DIR"]) / "admin.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    lines = [orjson.dumps({"instruction": f"seed {number}"}) for number in range(20)]
    status, out, err = await limbeck(up, "seeds", "push", "-", "-d", "mine", stdin=b"\n".join([*lines, b"nope", lines[0]]))
    assert (status, out) == (1, "22 received = 20 queued + 1 duplicates + 1 rejected\n")
    assert "line 21: not JSON" in err
    status, out, _ = await limbeck(up, "status", "mine", "--watch")
    assert status == 0
    assert "20 done" in out
    view = orjson.loads((await limbeck(up, "status", "mine", "--json"))[1])
    assert view["samples"]["accepted"] == 20
    status, out, err = await limbeck(up, "export", "mine", "-o", str(tmp_path / "out.jsonl"))
    assert (status, out) == (0, "")
    assert f"20 samples in {tmp_path / 'out.jsonl'}\n" in err
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 20
    assert not (tmp_path / "out.jsonl.part").exists()
    status, out, _ = await limbeck(up, "export", "mine", "-o", "-")
    assert (status, len(out.splitlines())) == (0, 20)
    status, _, err = await limbeck(up, "export", "mine", "-o", "/nonexistent/x.jsonl")
    assert (status, "cannot be written" in err, "Traceback" in err) == (2, True, False)
    status, _, err = await limbeck(up, "up")
    assert (status, "set LIMBECK_PORT" in err) == (2, True)


async def test_a_demo_whose_teacher_is_down_says_so_and_gives_up(tmp_path: Path) -> None:
    """Within half a minute, in the API's words; nothing is left running."""
    env = {
        "LIMBECK_DATA_DIR": str(tmp_path / "data"),
        "LIMBECK_TEACHER_URL": "http://127.0.0.1:9",
        "LIMBECK_TEACHER_MODEL": "m",
    }
    status, _, err = await limbeck(env, "demo", "--out", str(tmp_path / "demo.jsonl"))
    assert status == 2
    assert "nothing was answered for 30 s: teacher 'default' is left alone for now: http://127.0.0.1:9: connect:" in err
    assert str(tmp_path) not in every_process()


async def test_demo_with_a_teacher_of_ones_own(tmp_path: Path) -> None:
    """From nothing to a file, with a funnel that adds up and three samples; nothing is left running."""
    async with simulated_teacher() as url:
        env = {"LIMBECK_DATA_DIR": str(tmp_path / "data"), **simulated_env(url)}
        status, out, err = await limbeck(env, "demo", "--out", str(tmp_path / "demo.jsonl"))
    assert status == 0, err
    assert "44 received = 44 queued + 0 duplicates + 0 rejected" in out
    assert out.count("sample ") >= 3
    assert "What next:" in out
    assert len((tmp_path / "demo.jsonl").read_bytes().splitlines()) == 44
    assert str(tmp_path) not in every_process()


@pytest.mark.parametrize(
    ("env", "arguments", "words"),
    [
        ({}, ["status", "x"], "no admin key: set LIMBECK_ADMIN_KEY"),
        ({"LIMBECK_ADMIN_KEY": "k"}, ["status", "x"], "nothing answers at http://127.0.0.1:"),
        ({"LIMBECK_PORT": "http"}, ["api"], "LIMBECK_PORT: "),
        ({"LIMBECK_ADMIN_KEY": "k", "LIMBECK_TEACHER_URL": "http://h"}, ["api"], "needs LIMBECK_TEACHER_MODEL"),
        ({"LIMBECK_ADMIN_KEY": "k", "LIMBECK_TEACHERS_FILE": "/none.toml"}, ["api"], "LIMBECK_TEACHERS_FILE names /none.toml"),
        ({"LIMBECK_ADMIN_KEY_FILE": "/none"}, ["api"], "LIMBECK_ADMIN_KEY_FILE names /none, which cannot be read"),
        ({"LIMBECK_DATABASE_URL": "mysql://x"}, ["migrate"], "LIMBECK_DATABASE_URL must begin with postgresql://"),
        (
            {"LIMBECK_DATABASE_URL": "postgresql://u@127.0.0.1:9/d"},
            ["migrate"],
            "LIMBECK_DATABASE_URL: the database does not answer",
        ),
        ({"LIMBECK_DATABASE_URL": "postgresql://u@127.0.0.1:9/d"}, ["worker"], "no teacher is configured"),
        ({"LIMBECK_ADMIN_KEY": "k"}, ["status", "x", "--url", "http://h:abc"], "no usable port"),
        ({"LIMBECK_ADMIN_KEY": "k\u00e9y"}, ["status", "x"], "LIMBECK_ADMIN_KEY: "),
        ({"LIMBECK_DATA_DIR": "/proc/none"}, ["up"], "LIMBECK_DATA_DIR (/proc/none) cannot be written"),
        (
            {"LIMBECK_TEACHER_URL": "http://h", "LIMBECK_TEACHER_MODEL": "m"},
            ["demo", "--out", "/none/x"],
            "--out /none/x cannot be",
        ),
        ({"LIMBECK_ADMIN_KEY": "k"}, ["seeds", "push", "/none.jsonl", "-d", "x"], "/none.jsonl cannot be read"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
async def test_every_error_is_one_line_that_says_what_to_do(
    tmp_path: Path, env: dict[str, str], arguments: list[str], words: str
) -> None:
    """Exit status 2, no traceback."""
    env = {"LIMBECK_DATA_DIR": str(tmp_path), "LIMBECK_PORT": str(free_port()), **env}
    status, _, err = await limbeck(env, *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
