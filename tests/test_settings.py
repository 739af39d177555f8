"""Settings: from LIMBECK_… variables or the files that LIMBECK_…_FILE name; every error names its variable."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import load_settings

SetEnv = Callable[[str, str], None]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> SetEnv:
    """Sets a variable in an environment that has no other of ours."""
    for name in [name for name in os.environ if name.startswith("LIMBECK_")]:
        monkeypatch.delenv(name)

    def set_variable(name: str, value: str) -> None:
        monkeypatch.setenv(f"LIMBECK_{name}", value)

    return set_variable


def failure() -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return caught.value.detail


def test_nothing_needs_to_be_set(env: SetEnv) -> None:
    settings = load_settings()
    assert (settings.database_url, settings.data_dir, settings.host, settings.port) == (
        None,
        Path(".limbeck"),
        "127.0.0.1",
        8000,
    )


def test_a_variable_is_read(env: SetEnv) -> None:
    env("PORT", "9000")
    assert load_settings().port == 9000


def test_an_empty_variable_is_unset(env: SetEnv) -> None:
    env("PORT", "")
    assert load_settings().port == 8000


def test_an_override_wins_over_the_environment(env: SetEnv) -> None:
    env("PORT", "9000")
    assert load_settings(port=9001).port == 9001


@pytest.mark.parametrize("name", ["DATABASE_URL", "ADMIN_KEY", "TEACHER_API_KEY"])
def test_a_secret_is_read_from_its_file(env: SetEnv, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s3cret\n", encoding="utf-8")
    env(f"{name}_FILE", str(tmp_path / "secret"))
    assert getattr(load_settings(), name.lower()).get_secret_value() == "s3cret"


def test_any_setting_is_read_from_its_file(env: SetEnv, tmp_path: Path) -> None:
    (tmp_path / "in_flight").write_text("12\n", encoding="utf-8")
    env("WORKER_MAX_IN_FLIGHT_FILE", str(tmp_path / "in_flight"))
    assert load_settings().worker_max_in_flight == 12


def test_the_variable_wins_over_its_file(env: SetEnv, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("9001", encoding="utf-8")
    env("PORT", "9000")
    env("PORT_FILE", str(tmp_path / "port"))
    assert load_settings().port == 9000


def test_an_empty_file_variable_is_unset(env: SetEnv) -> None:
    env("PORT_FILE", "")
    assert load_settings().port == 8000


def test_teachers_file_is_a_setting_not_a_file_variant(env: SetEnv, tmp_path: Path) -> None:
    env("TEACHERS_FILE", str(tmp_path / "teachers.toml"))
    assert load_settings().teachers_file == tmp_path / "teachers.toml"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named_with_its_variable(env: SetEnv, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    env("ADMIN_KEY_FILE", str(path))
    assert failure().startswith(f"LIMBECK_ADMIN_KEY_FILE names {path}, which cannot be read: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("WORKER_MAX_IN_FLIGHT", "0"),
        ("LEASE_S", "0"),
        ("LEASE_S", "nan"),
        ("HEARTBEAT_S", "soon"),
        ("DRAIN_S", "-1"),
        ("TEACHER_REASONING", "think"),
    ],
)
def test_a_bad_value_names_its_variable(env: SetEnv, name: str, value: str) -> None:
    env(name, value)
    assert failure().startswith(f"LIMBECK_{name}: ")


def test_every_bad_value_is_named_at_once(env: SetEnv) -> None:
    env("PORT", "x")
    env("DRAIN_S", "y")
    words = failure()
    assert "LIMBECK_PORT: " in words
    assert "LIMBECK_DRAIN_S: " in words


def test_a_bad_value_from_a_file_names_its_variable(env: SetEnv, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("x", encoding="utf-8")
    env("PORT_FILE", str(tmp_path / "port"))
    assert "LIMBECK_PORT" in failure()


def test_a_secret_stays_out_of_errors_and_prints(env: SetEnv) -> None:
    env("ADMIN_KEY", "s3cret")
    assert "s3cret" not in repr(load_settings())
    env("PORT", "x")
    assert "s3cret" not in failure()


@pytest.mark.parametrize("name", ["LEASE_S", "HEARTBEAT_S", "DRAIN_S"])
def test_an_infinite_time_is_refused(env: SetEnv, name: str) -> None:
    env("LEASE_S", "inf")
    env(name, "inf")
    assert f"LIMBECK_{name}: " in failure()


def test_an_unknown_log_level_is_refused(env: SetEnv) -> None:
    env("LOG_LEVEL", "loud")
    assert failure().startswith("LIMBECK_LOG_LEVEL: ")


@pytest.mark.parametrize(
    ("lease", "heartbeat", "fits"), [("15", "5", True), ("14.9", "5", False), ("3", "1", True), ("60", "20.1", False)]
)
def test_a_lease_outlasts_three_heartbeats(env: SetEnv, lease: str, heartbeat: str, fits: bool) -> None:
    env("LEASE_S", lease)
    env("HEARTBEAT_S", heartbeat)
    if fits:
        assert load_settings().lease_s == float(lease)
    else:
        words = failure()
        assert f"LIMBECK_LEASE_S ({lease}) must be at least three times LIMBECK_HEARTBEAT_S ({heartbeat})" in words
