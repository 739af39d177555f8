"""Teachers: what the operator may write, what the errors name, and what the first answers say about the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import ConfigurationError, InvalidInput
from app.settings import Settings
from app.teachers.config import ReasoningMode, Teacher, Teachers, load_teachers
from app.teachers.diagnosis import ENOUGH_TO_TELL, LOOKED_AT, ReasoningSeen, diagnose


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("LIMBECK_")]:
        monkeypatch.delenv(name)


def write(folder: Path, text: str) -> Path:
    path = folder / "teachers.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(**fields: Any) -> Teachers:
    return load_teachers(Settings(**fields))


def failure(**fields: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**fields)
    return caught.value.detail


def test_a_file_names_several_teachers(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[teachers.small]\nurls = ["http://a"]\nmodel = "s"\n'
        '[teachers.big]\nurls = ["http://b", "http://c"]\nmodel = "b"\nreasoning = "tags"\nlicence = "MIT"\n',
    )
    teachers = load(teachers_file=path).by_name
    assert {name: (made.name, made.model, made.urls, made.reasoning) for name, made in teachers.items()} == {
        "small": ("small", "s", ("http://a",), "native"),
        "big": ("big", "b", ("http://b", "http://c"), "tags"),
    }


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('reasoning = "think"', "reasoning"),
        ('urls = ["ftp://a"]', "urls"),
        ("urls = []", "urls"),
        ('model = ""', "model"),
        ('colour = "red"', "colour"),
        ("timeout_s = 0", "timeout_s"),
        ("timeout_s = nan", "timeout_s"),
        ('api_key_file = "/nowhere/key"', "api_key_file"),
        ('api_key = "k"\napi_key_file = "/nowhere/key"', "api_key"),
    ],
)
def test_an_error_in_the_file_names_file_teacher_and_field(tmp_path: Path, line: str, field: str) -> None:
    lines = {"urls": 'urls = ["http://a"]', "model": 'model = "m"'}
    lines[line.split(" ", 1)[0]] = line
    path = write(tmp_path, "[teachers.big]\n" + "\n".join(lines.values()))
    words = failure(teachers_file=path)
    assert words.startswith(f"{path}, teacher 'big': ")
    assert field in words


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    assert "model: Field required" in failure(teachers_file=write(tmp_path, '[teachers.a]\nurls = ["http://a"]\n'))


@pytest.mark.parametrize("text", ["", "x = 1", "[teacher.a]", "[teachers.a]\n[other]", "teachers = 5", "[teachers]"])
def test_a_file_of_another_shape_is_told_the_shape(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert failure(teachers_file=path) == f"{path} must hold tables named [teachers.NAME] and nothing else"


def test_a_teacher_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "[teachers]\nbig = 5\n")
    assert failure(teachers_file=path) == f"{path}: teachers.big must be a table"


def test_a_name_that_no_recipe_could_use_is_refused(tmp_path: Path) -> None:
    words = failure(teachers_file=write(tmp_path, '[teachers."a b"]\nurls = ["http://a"]\nmodel = "m"\n'))
    assert "teacher 'a b': name:" in words


@pytest.mark.parametrize("content", [b"[teachers", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_named_with_its_setting(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "teachers.toml"
    path.write_bytes(content)
    assert failure(teachers_file=path).startswith(f"LIMBECK_TEACHERS_FILE names {path}, which cannot be read as TOML: ")


def test_an_absent_file_is_named_with_its_setting(tmp_path: Path) -> None:
    assert failure(teachers_file=tmp_path / "none.toml").startswith("LIMBECK_TEACHERS_FILE names ")


def test_file_and_url_together_are_refused(tmp_path: Path) -> None:
    words = failure(teachers_file=write(tmp_path, ""), teacher_url="http://a")
    assert words == "set LIMBECK_TEACHERS_FILE or LIMBECK_TEACHER_URL, not both"


def test_a_url_without_a_model_says_where_the_name_is_found() -> None:
    assert "LIMBECK_TEACHER_URL needs LIMBECK_TEACHER_MODEL" in failure(teacher_url="http://a")


def test_a_single_teacher_comes_from_the_environments_settings() -> None:
    made = load(teacher_url="http://a, http://b/v1", teacher_model="m", teacher_reasoning="tags").by_name["default"]
    assert (made.urls, made.model, made.reasoning) == (("http://a", "http://b"), "m", "tags")


def test_no_settings_mean_no_teachers() -> None:
    assert load().by_name == {}


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://a:8000", "http://a:8000"),
        ("http://a:8000/", "http://a:8000"),
        ("http://a:8000/v1", "http://a:8000"),
        ("http://a:8000/v1/", "http://a:8000"),
        (" https://a/proxy/v1 ", "https://a/proxy"),
    ],
)
def test_urls_are_taken_with_and_without_v1(given: str, base: str) -> None:
    assert Teacher(urls=(given,), model="m").urls == (base,)


def test_a_host_may_be_named_v1() -> None:
    assert Teacher(urls=("http://v1",), model="m").urls == ("http://v1",)


@pytest.mark.parametrize("given", ["", "a:8000", "ftp://a", "http:/a", "http://"])
def test_what_is_no_http_url_is_refused(given: str) -> None:
    with pytest.raises(ValidationError, match="is no http:// or https:// URL"):
        Teacher(urls=(given,), model="m")


@pytest.mark.parametrize("given", ["http:///v1", "http://a b", "http://a:port", "http://a/v1?x=1"])
def test_urls_that_no_client_can_use_are_refused(given: str) -> None:
    with pytest.raises(ValidationError):
        Teacher(urls=(given,), model="m")


def test_a_key_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("secret\n", encoding="utf-8")
    key = Teacher(urls=("http://a",), model="m", api_key_file=path).api_key
    assert key is not None
    assert key.get_secret_value() == "secret"


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    assert "secret" not in repr(Teacher.model_validate({"urls": ["http://a"], "model": "m", "api_key": "secret"}))


TWO = {name: Teacher(name=name, urls=("http://a",), model="m") for name in ("a", "b")}


def test_the_only_teacher_needs_no_name() -> None:
    assert Teachers({"a": TWO["a"]}).resolve(None) is TWO["a"]


def test_the_default_teacher_needs_no_name() -> None:
    assert Teachers({**TWO, "default": TWO["b"]}).resolve(None) is TWO["b"]


@pytest.mark.parametrize(
    ("teachers", "name", "words"),
    [
        (TWO, None, "more than one teacher is configured: name one of a, b"),
        (TWO, "c", "there is no teacher 'c'; configured: a, b"),
        ({}, "c", "there is no teacher 'c'; configured: none"),
        ({}, None, "no teacher is configured: set LIMBECK_TEACHER_URL and LIMBECK_TEACHER_MODEL"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_input_error(teachers: dict[str, Teacher], name: str | None, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Teachers(teachers).resolve(name)
    (error,) = caught.value.errors
    assert error.field == "recipe.teacher"
    assert error.error.startswith(words)


@pytest.mark.parametrize(
    ("expected", "seen", "mend"),
    [
        ("native", ["tags"], '"tags", or start vLLM with --reasoning-parser'),
        ("none", ["nothing", "tags"], '"tags", or start vLLM with --reasoning-parser'),
        ("native", ["nothing"] * 5, '"elicited" or "none", or start vLLM with --reasoning-parser'),
        ("tags", ["field"] * 5, '"native"'),
        ("elicited", ["field", *["nothing"] * 4], '"native"'),
        ("tags", ["nothing"] * 5, '"elicited" or "none"'),
        ("elicited", ["nothing"] * 5, '"none", or hold it to tags (elicitation.structured)'),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_its_mend(
    expected: ReasoningMode, seen: list[ReasoningSeen], mend: str
) -> None:
    words = diagnose("big", expected, seen)
    assert words is not None
    assert words.startswith(f"teacher 'big' is set to reasoning = {expected!r}, but ")
    assert "set LIMBECK_TEACHER_REASONING (or `reasoning` of teacher 'big' in the teachers file, or of the recipe) to " in words
    assert words.endswith(f"{mend}.")


@pytest.mark.parametrize(
    ("expected", "seen"),
    [
        ("native", ["field"] * 20),
        ("native", ["field", *["nothing"] * 19]),
        ("none", ["nothing"] * 20),
        ("none", ["field"] * 20),
        ("tags", ["tags", *["nothing"] * 19]),
        ("elicited", ["tags", *["nothing"] * 19]),
        ("tags", []),
    ],
)
def test_a_setting_that_fits_is_left_alone(expected: ReasoningMode, seen: list[ReasoningSeen]) -> None:
    assert diagnose("big", expected, seen) is None


@pytest.mark.parametrize("expected", ["native", "tags", "elicited"])
def test_too_few_answers_tell_nothing(expected: ReasoningMode) -> None:
    assert diagnose("big", expected, ["nothing"] * (ENOUGH_TO_TELL - 1)) is None


def test_at_most_the_first_20_count() -> None:
    first: list[ReasoningSeen] = ["field"] * LOOKED_AT
    assert LOOKED_AT == 20
    assert diagnose("big", "native", [*first, "tags"]) is None
    assert diagnose("big", "native", [*first[1:], "tags"]) is not None
