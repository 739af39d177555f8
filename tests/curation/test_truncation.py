"""truncation: answers that break off are rejected, and code, lists and numbers that end as they should are kept."""

from __future__ import annotations

import pytest

from app.curation.candidate import Candidate, Reject
from app.curation.truncation import Truncation, has_open_fence


def judge(response: str, *, fences: bool = True, dangling: bool = True) -> Reject | None:
    check = Truncation(check="truncation", fences=fences, dangling=dangling)
    return check.judge(Candidate("Do it.", "", None, response))


@pytest.mark.parametrize(
    "text",
    [
        "Run this:\n\n```bash\npip install limbeck\n",
        "~~~\nnever closed",
        "````md\n```python\nx = 1\n```\n",
        "```\nclosed by the other character\n~~~",
        "```\nfirst\n```\n\nand then\n\n```\nsecond",
        "```python\nx = 1\n```python\ny = 2\n",
    ],
)
def test_a_fence_that_is_never_closed_is_rejected(text: str) -> None:
    reject = judge(text)
    assert reject is not None
    assert reject.reason == "truncation"


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "```text\r\nx\r\n```\r\nDone.",
        "~~~\n```\n~~~",
        "````md\n```python\nx = 1\n```\n````",
        "```\nlonger closing fence\n`````",
        "```\ntrailing blanks after the fence\n```   \n",
        "1. Install it:\n\n   ```bash\n   make\n   ```\n\n2. Run it.",
        "> ```\n> quoted\n> ```\nDone.",
        "Inline ``` is no fence.",
        "    ```\n    indented code that shows a fence\n\nDone.",
    ],
)
def test_closed_fences_are_kept(text: str) -> None:
    assert not has_open_fence(text)


@pytest.mark.parametrize(
    "text",
    [
        "1. ```bash\n   make\n   ```\n\n2. Run it.",  # opened on the list marker's own line (CommonMark 0.31, 5.2)
        "- ```bash\n  make\n  ```\n\nDone.",
        "```print(1)```\n\nThat prints one.",  # a code span: info strings hold no backticks (4.5)
    ],
)
def test_fences_that_only_commonmark_sees_closed_are_kept(text: str) -> None:
    assert not has_open_fence(text)


@pytest.mark.parametrize(
    "text",
    [
        "The ingredients are flour, sugar,",
        "There are three reasons:",
        "He opened the door and –",
        "She said —",
        "First:\n1. Boil water.\n2.",
        "Items:\n- one\n-",
        "The result (",
    ],
)
def test_a_last_line_that_promises_more_is_rejected(text: str) -> None:
    reject = judge(text)
    assert reject is not None
    assert reject.detail.startswith("breaks off after")


@pytest.mark.parametrize(
    "text",
    [
        "The sky is blue because of Rayleigh scattering",
        "Yes",
        "positive",
        "$12.50",
        "https://example.com/a/b",
        "She left…",
        "def f(x):\n    return x",
        "1. One\n2. Two\n3. Three",
        "{'a': [1, 2]}",
        "C++",
        "#### 18",
        "x = -1",
        "Kind regards\nAnna",
    ],
)
def test_a_missing_full_stop_is_no_truncation(text: str) -> None:
    assert judge(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name FROM users WHERE age > 30;",
        "var newDate = new Date();\nconsole.log(newDate);",
        "int main(void) { return 0; }\nint x = 5;",
    ],
)
def test_code_that_ends_in_a_semicolon_is_kept(text: str) -> None:
    assert judge(text) is None


@pytest.mark.parametrize("text", ["42.", "The sum is\n\n42.", "-", "*", "The operator is\n\n+"])
def test_a_bare_number_or_operator_is_an_answer_not_a_list_marker(text: str) -> None:
    assert judge(text) is None


def test_an_emoticon_is_no_open_bracket() -> None:
    assert judge("I am so sad :(") is None


def test_fences_can_be_switched_off() -> None:
    assert judge("```\nopen", fences=False) is None


def test_the_dangling_check_can_be_switched_off() -> None:
    assert judge("One, two,", dangling=False) is None


def test_trailing_white_space_does_not_hide_a_dangling_end() -> None:
    assert judge("One, two,  \n\n") is not None


def test_an_empty_answer_is_left_to_other_checks() -> None:
    assert judge("") is None
