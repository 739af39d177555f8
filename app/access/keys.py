"""The admin key: LIMBECK_ADMIN_KEY, else the file admin.key in the data directory."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import ConfigurationError

if TYPE_CHECKING:
    from app.settings import Settings


def key_file(settings: Settings) -> Path:
    """Where `limbeck up` keeps the key that it made."""
    return settings.data_dir / "admin.key"


def read_admin_key(settings: Settings) -> str:
    """The configured or kept key.

    Raises:
        ConfigurationError: there is none; says how to set or make one.
    """
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value()
    path = key_file(settings)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        key = ""
    except OSError as exc:
        msg = f"the admin key file {path} cannot be read: {exc}"
        raise ConfigurationError(msg) from exc
    if not key:
        msg = f"no admin key: set LIMBECK_ADMIN_KEY (or LIMBECK_ADMIN_KEY_FILE), or run `limbeck up`, which makes {path}"
        raise ConfigurationError(msg)
    return key


def ensure_admin_key(settings: Settings) -> tuple[str, Path | None]:
    """The key, made on first start (mode 0600); and the file it is kept in, None when it came from the environment."""
    if settings.admin_key is not None:
        return settings.admin_key.get_secret_value(), None
    path = key_file(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        if path.exists():
            return read_admin_key(settings), path
        msg = f"LIMBECK_DATA_DIR ({settings.data_dir}) cannot be written to: {exc.strerror}"
        raise ConfigurationError(msg) from exc
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"lk_{secrets.token_urlsafe(32)}\n")
    return read_admin_key(settings), path
