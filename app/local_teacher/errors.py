"""The one error that the local teacher raises."""


class LocalTeacherError(Exception):
    """The local teacher cannot go on; the message says what to do about it."""


def last_lines(text: str, count: int = 15) -> str:
    """Cut the end of a log, indented, as an error message quotes it."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-count:])
