"""Settings: environment variables named LIMBECK_…, each also readable from a file as LIMBECK_…_FILE."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.errors import ConfigurationError
from app.teachers.config import ReasoningMode

PREFIX = "LIMBECK_"


class FileSource(PydanticBaseSettingsSource):
    """Reads LIMBECK_X from the file that LIMBECK_X_FILE names (docker and Kubernetes secrets)."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 -- the base class's signature
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as exc:
            msg = f"{variable} names {path}, which cannot be read: {exc}"
            raise ConfigurationError(msg) from exc

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def lower(word: object) -> object:
    """INFO is as good as info."""
    return word.lower() if isinstance(word, str) else word


def usable_key(key: SecretStr | None) -> SecretStr | None:
    """A key travels in an HTTP header."""
    text = "x" if key is None else key.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        msg = "must be printable ASCII without spaces, and not empty: it travels in an HTTP header"
        raise ValueError(msg)
    return key


class Settings(BaseSettings):
    """All that can be set from outside; docs/configuration.md explains each."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = None
    data_dir: Path = Path(".limbeck")
    teachers_file: Path | None = None
    teacher_url: str | None = None
    teacher_model: str | None = None
    teacher_api_key: SecretStr | None = None
    teacher_reasoning: ReasoningMode | None = None
    teacher_licence: str | None = None
    admin_key: Annotated[SecretStr | None, AfterValidator(usable_key)] = None
    url: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    worker_max_in_flight: Annotated[int, Field(ge=1, le=8192)] = 1024
    worker_processes: Annotated[int, Field(ge=1, le=64)] = 1
    lease_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    heartbeat_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    drain_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the base class's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FileSource(settings_cls)

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401, ARG002
        if self.heartbeat_s * 3 > self.lease_s:
            msg = (
                f"LIMBECK_LEASE_S ({self.lease_s:g}) must be at least three times LIMBECK_HEARTBEAT_S "
                f"({self.heartbeat_s:g}), or one late beat would cost a healthy worker its leases."
            )
            raise ConfigurationError(msg)


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 -- the fields' own types
    """Settings from the environment.

    Raises:
        ConfigurationError: a value does not validate; the message names the variable.
    """
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        lines = [f"{PREFIX}{'_'.join(str(part) for part in e['loc']).upper()}: {e['msg']}" for e in exc.errors()]
        raise ConfigurationError("; ".join(lines)) from exc
