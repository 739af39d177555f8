"""Which teachers there are: from LIMBECK_TEACHERS_FILE (TOML), or one from LIMBECK_TEACHER_…."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from app.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from app.settings import Settings

TeacherName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ReasoningMode = Literal["native", "tags", "elicited", "none"]


def base_url(url: str) -> str:
    """The URL without a trailing /v1, or /v1/chat/completions.

    Raises:
        ValueError: no usable http:// or https:// URL; says what is wrong.
    """
    parts = urlsplit(url.strip())
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url.rpartition("@")[2]
    try:
        port = parts.port
    except ValueError as exc:
        msg = f"{shown!r} has no usable port: {exc}"
        raise ValueError(msg) from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url.strip() or port == 0:
        msg = f"{shown!r} is no http:// or https:// URL of a server"
        raise ValueError(msg)
    if parts.query or parts.fragment:
        msg = f"{shown!r} carries a query or fragment; name the server's base URL only"
        raise ValueError(msg)
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


def shown_url(url: str) -> str:
    """The URL without a user's name and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


class Teacher(BaseModel):
    """One vLLM model, or any OpenAI-compatible server.

    `urls` are base URLs, with or without a trailing /v1; several are replicas of one model.
    `reasoning` says how the reasoning arrives: `native` (the server's reasoning parser fills
    `message.reasoning`), `tags` (<think> in the text), `elicited` (the recipe asks for tags), `none`.
    `start_in_flight` is where a worker begins to look for the level of each replica. `check_model` refuses answers
    that say another model wrote them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: TeacherName = "default"
    urls: Annotated[tuple[str, ...], Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)]
    licence: str | None = None
    reasoning: ReasoningMode = "native"
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    connect_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    token_idle_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 900.0
    start_in_flight: Annotated[int, Field(ge=1, le=8192)] = 64
    check_model: bool = True

    @field_validator("urls")
    @classmethod
    def normalise_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(base_url(url) for url in urls)

    @model_validator(mode="after")
    def read_key(self) -> Teacher:
        if self.api_key_file is None:
            return self
        if self.api_key is not None:
            msg = "give api_key or api_key_file, not both"
            raise ValueError(msg)
        try:
            key = self.api_key_file.read_text(encoding="utf-8").strip()
        except OSError as exc:
            msg = f"api_key_file cannot be read: {exc}"
            raise ValueError(msg) from exc
        object.__setattr__(self, "api_key", SecretStr(key))
        return self


@dataclass(frozen=True, slots=True)
class Teachers:
    """The configured teachers by name; possibly none."""

    by_name: Mapping[str, Teacher]

    def resolve(self, name: str | None) -> Teacher:
        """The named teacher, or the only one.

        Raises:
            InvalidInput: no such teacher, none configured, or a name is needed.
        """
        known = ", ".join(sorted(self.by_name)) or "none"
        if name is None:
            if len(self.by_name) == 1:
                return next(iter(self.by_name.values()))
            if "default" in self.by_name:
                return self.by_name["default"]
            if not self.by_name:
                msg = "no teacher is configured: set LIMBECK_TEACHER_URL and LIMBECK_TEACHER_MODEL, or LIMBECK_TEACHERS_FILE, and restart"
            else:
                msg = f"more than one teacher is configured: name one of {known}"
            raise _invalid(msg)
        if name not in self.by_name:
            msg = f"there is no teacher {name!r}; configured: {known}"
            raise _invalid(msg)
        return self.by_name[name]


def _invalid(message: str) -> InvalidInput:
    from app.errors import FieldError

    return InvalidInput(message, [FieldError(error=message, field="recipe.teacher")])


def load_teachers(settings: Settings) -> Teachers:
    """Read the teachers from the settings.

    Raises:
        ConfigurationError: unreadable or invalid; names the file or variable and the field.
    """
    if settings.teachers_file is not None:
        if settings.teacher_url is not None:
            msg = "set LIMBECK_TEACHERS_FILE or LIMBECK_TEACHER_URL, not both"
            raise ConfigurationError(msg)
        return _from_file(settings.teachers_file)
    if settings.teacher_url is None:
        return Teachers({})
    if settings.teacher_model is None:
        msg = "LIMBECK_TEACHER_URL needs LIMBECK_TEACHER_MODEL: the model's served name, as `curl $URL/v1/models` lists it"
        raise ConfigurationError(msg)
    fields = {
        "urls": [url for url in settings.teacher_url.split(",") if url.strip()],
        "model": settings.teacher_model,
        "api_key": settings.teacher_api_key,
        "reasoning": settings.teacher_reasoning or "native",
        "licence": settings.teacher_licence,
    }
    return Teachers({"default": _validate("default", fields, "LIMBECK_TEACHER_…")})


def _from_file(path: Path) -> Teachers:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        msg = f"LIMBECK_TEACHERS_FILE names {path}, which cannot be read as TOML: {exc}"
        raise ConfigurationError(msg) from exc
    tables = document.get("teachers")
    if not isinstance(tables, dict) or not tables or set(document) != {"teachers"}:
        msg = f"{path} must hold tables named [teachers.NAME] and nothing else"
        raise ConfigurationError(msg)
    return Teachers({name: _validate(name, table, str(path)) for name, table in tables.items()})


def _validate(name: str, fields: object, source: str) -> Teacher:
    if not isinstance(fields, dict):
        msg = f"{source}: teachers.{name} must be a table"
        raise ConfigurationError(msg)
    try:
        return Teacher.model_validate({**fields, "name": name})
    except ValidationError as exc:
        lines = [f"{'.'.join(str(part) for part in e['loc']) or 'teacher'}: {e['msg']}" for e in exc.errors()]
        msg = f"{source}, teacher {name!r}: " + "; ".join(lines)
        raise ConfigurationError(msg) from exc
