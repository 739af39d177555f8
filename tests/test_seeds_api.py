"""POST …/seeds: every shape that is taken, every mistake that is named, and nothing lost around it."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.support.stack import NDJSON, Client


async def post(client: Client, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    await client.create()
    response = await client.http.post("/v1/datasets/d/seeds", content=body, headers={**NDJSON, **headers})
    return response.status_code, response.json()


async def test_alpaca_fields_become_a_seed_with_its_reference(client: Client) -> None:
    """`output` is the reference; other members are kept as metadata."""
    await post(client, orjson.dumps({"instruction": "Translate.", "input": "Tag", "output": "day", "topic": "german"}))
    async with client.http.stream("GET", "/v1/datasets/d") as response:
        assert response.status_code == 200
    view = await client.view()
    assert view["seeds"] == {"total": 1, "queued": 1, "leased": 0, "done": 0, "failed": 0, "cancelled": 0}


async def test_self_instruct_instances_unfold(client: Client) -> None:
    """One seed an instance; `received` counts seeds, `lines` counts lines."""
    line = {"instruction": "Classify.", "instances": [{"input": "a", "output": "x"}, {"input": "b", "output": "y"}]}
    status, answer = await post(client, orjson.dumps(line))
    assert status == 202
    assert (answer["lines"], answer["received"], answer["queued"]) == (1, 2, 2)


async def test_json_body_is_taken_like_ndjson(client: Client) -> None:
    """{"seeds": […]}, with items counted as lines."""
    body = {"seeds": [{"instruction": "one"}, {"instruction": 2}, {"instruction": "three"}]}
    await client.create()
    response = await client.http.post("/v1/datasets/d/seeds", json=body)
    answer = response.json()
    assert response.status_code == 202
    assert (answer["queued"], answer["rejected"]) == (
        2,
        [{"line": 2, "field": "instruction", "error": "must be a string, not a number"}],
    )


async def test_duplicates_are_counted_and_not_stored(client: Client) -> None:
    """Same instruction and input: NFC and outer white space make no difference."""
    lines = [{"instruction": "caf\u00e9"}, {"instruction": "cafe\u0301 "}, {"instruction": "caf\u00e9", "input": "x"}]
    await client.create()
    answer = await client.push("d", lines)
    assert (answer["queued"], answer["duplicates"]) == (2, 1)
    again = await client.push("d", lines)
    assert (again["queued"], again["duplicates"]) == (0, 3)
    assert (await client.view())["seeds"]["total"] == 2


BAD_LINES: list[tuple[bytes, str | None, str]] = [
    (b"not json", None, "not JSON"),
    (b"[1, 2]", None, "must be an object"),
    (b"null", None, "must be an object"),
    (b"{}", "instruction", "missing"),
    (b'{"instruction": ""}', "instruction", "empty"),
    (b'{"instruction": "  "}', "instruction", "empty"),
    (b'{"instruction": 7}', "instruction", "must be a string"),
    (b'{"instruction": "x", "input": ["y"]}', "input", "must be a string"),
    (b'{"instruction": "x", "metadata": "m"}', "metadata", "must be an object"),
    (b'{"instruction": "x", "instances": []}', "instances", "must be a list"),
    (b'{"instruction": "x", "output": "a", "reference": "b"}', "reference", "keep one"),
    (b'{"instruction": "a\\u0000b"}', "instruction", "NUL"),
    (b'{"instruction": "x", "metadata": {"k": "a\\u0000b"}}', "metadata", "NUL"),
    (b'{"instruction": "a\\ud800b"}', None, "surrogate"),
    (b'{"instruction": "\xff\xfe"}', None, "UTF-8"),
    (b'{"instruction": "x", "metadata": {"n": NaN}}', None, "NaN"),
    (b'{"instruction": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", None, "nested deeper"),
    (b'{"instruction": "' + b"x" * 2_000_000 + b'"}', None, "longer than"),
]


@pytest.mark.parametrize(
    ("line", "field", "words"), BAD_LINES, ids=[words + str(i) for i, (_, _, words) in enumerate(BAD_LINES)]
)
async def test_a_bad_line_is_named_and_its_neighbours_are_kept(
    client: Client, line: bytes, field: str | None, words: str
) -> None:
    """Line, field and mend; no 500, and both neighbours are queued."""
    status, answer = await post(client, b'{"instruction": "before"}\n' + line + b'\n{"instruction": "after"}\n')
    assert status == 202
    assert answer["queued"] == 2
    [rejected] = answer["rejected"]
    assert (rejected["line"], rejected["field"]) == (2, field)
    assert words in rejected["error"]
    assert answer["received"] == answer["queued"] + answer["duplicates"] + answer["rejected_total"]


async def test_nothing_good_is_422_with_every_line_named(client: Client) -> None:
    """A problem detail whose `errors` name the lines, with the counts beside them."""
    status, problem = await post(client, b'{"instruction": 1}\n\nnope\n')
    assert status == 422
    assert [error["line"] for error in problem["errors"]] == [1, 3]
    assert (problem["received"], problem["rejected_total"]) == (2, 2)
    assert problem["type"] == "urn:limbeck:problem:invalid-input"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"not json", "not valid JSON"),
        (b"{}", "must be a JSON object"),
        (b'{"seeds": 3}', "must be a list"),
        (b'{"seeds": [' + b"[" * 200_000 + b"]" * 200_000 + b"]}", "nested deeper"),
    ],
)
async def test_a_json_body_that_is_not_seeds_says_what_it_should_be(client: Client, body: bytes, words: str) -> None:
    """422, never 500."""
    status, problem = await post(client, body, **{"content-type": "application/json"})
    assert status == 422
    assert words in problem["detail"] + str(problem["errors"])


async def test_a_json_body_that_breaks_off_keeps_the_items_before(client: Client) -> None:
    """Three whole items are queued; the damage is named with its place."""
    body = b'{"seeds": [{"instruction": "a"}, {"instruction": "b"}, {"instruction": "c"}, {"instr'
    status, answer = await post(client, body, **{"content-type": "application/json"})
    assert status == 202
    assert answer["queued"] == 3
    assert answer["rejected"][0]["line"] == 4


async def test_gzip_is_taken_and_a_cut_one_keeps_what_came(client: Client) -> None:
    """A cut body stores its whole lines and says that it was cut."""
    lines = b"".join(orjson.dumps({"instruction": f"seed {n} {hash(str(n))}"}) + b"\n" for n in range(3000))
    packed = gzip.compress(lines)
    status, answer = await post(client, packed, **{"content-encoding": "gzip"})
    assert (status, answer["queued"]) == (202, 3000)
    await client.create("cut")
    response = await client.http.post(
        "/v1/datasets/cut/seeds", content=packed[: len(packed) // 2], headers={**NDJSON, "content-encoding": "gzip"}
    )
    answer = response.json()
    assert response.status_code == 202
    assert 0 < answer["queued"] < 3000
    assert "gzip" in answer["rejected"][-1]["error"]
    assert (await client.view("cut"))["seeds"]["total"] == answer["queued"]


async def test_a_repeated_idempotency_key_gives_the_first_answer(client: Client) -> None:
    """Word for word, and nothing is stored again; with another body it is refused, since those seeds would be lost."""
    body = b'{"instruction": "a"}\n{"instruction": 1}\n'
    _, first = await post(client, body, **{"idempotency-key": "k1"})
    for again, status in ((body, 202), (b'{"instruction": "b"}', 422)):
        response = await client.http.post("/v1/datasets/d/seeds", content=again, headers={**NDJSON, "idempotency-key": "k1"})
        assert response.status_code == status
        assert (response.json() == first) == (status == 202)
    assert (await client.view())["seeds"]["total"] == 1


async def test_a_key_whose_first_post_is_still_read_is_409(client: Client) -> None:
    """Of five at once with one key, each is either the one that is answered or told to wait; the first answer stays."""
    await client.create()
    body = b"".join(orjson.dumps({"instruction": f"s{n}"}) + b"\n" for n in range(5000))
    headers = {**NDJSON, "idempotency-key": "k3"}
    answers = await asyncio.gather(*(client.http.post("/v1/datasets/d/seeds", content=body, headers=headers) for _ in range(5)))
    told = [answer.json() for answer in answers if answer.status_code == 202]
    assert {answer.status_code for answer in answers} <= {202, 409}
    again = await client.http.post("/v1/datasets/d/seeds", content=body, headers=headers)
    assert all(answer == again.json() for answer in told)
    assert again.json()["queued"] == 5000


async def test_overlapping_uploads_do_not_deadlock(client: Client) -> None:
    """Four POSTs of the same seeds in different orders: all are answered, each seed is stored once."""
    await client.create()
    lines = [orjson.dumps({"instruction": f"s{n}"}) + b"\n" for n in range(4000)]
    bodies = [b"".join(random.Random(n).sample(lines, len(lines))) for n in range(4)]
    answers = await asyncio.gather(*(client.http.post("/v1/datasets/d/seeds", content=body, headers=NDJSON) for body in bodies))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert sum(answer.json()["queued"] for answer in answers) == (await client.view())["seeds"]["total"] == 4000


async def test_an_upload_that_was_cut_off_goes_on_under_its_key(client: Client) -> None:
    """What the first try stored counts as queued, not as duplicates."""
    await client.create()
    headers = {**NDJSON, "idempotency-key": "k2"}
    lines = [orjson.dumps({"instruction": f"s{n}"}) + b"\n" for n in range(2500)]

    async def cut() -> AsyncIterator[bytes]:
        yield b"".join(lines[:2000])
        raise ConnectionResetError

    broken = await client.http.post("/v1/datasets/d/seeds", content=cut(), headers=headers)
    assert broken.status_code >= 400
    stored = (await client.view())["seeds"]["total"]
    assert 0 < stored < 2500
    response = await client.http.post("/v1/datasets/d/seeds", content=b"".join(lines), headers=headers)
    answer = response.json()
    assert (answer["queued"], answer["duplicates"]) == (2500, 0)
    assert (await client.view())["seeds"]["total"] == 2500


async def test_other_content_types_and_encodings_are_415(client: Client) -> None:
    """The problem says what to send instead."""
    for headers in ({"content-type": "text/csv"}, {"content-encoding": "br"}):
        response = await client.http.post("/v1/datasets/none/seeds", content=b"x", headers={**NDJSON, **headers})
        assert response.status_code in (404, 415)
    await client.create()
    response = await client.http.post("/v1/datasets/d/seeds", content=b"x", headers={"content-type": "text/csv"})
    assert response.status_code == 415
    assert "application/x-ndjson" in response.json()["detail"]


async def test_a_cancelled_or_unknown_dataset_takes_no_seeds(client: Client) -> None:
    """409 and 404."""
    await client.create()
    await client.http.post("/v1/datasets/d/cancel")
    for name, status in (("d", 409), ("nowhere", 404)):
        response = await client.http.post(f"/v1/datasets/{name}/seeds", content=b'{"instruction": "x"}', headers=NDJSON)
        assert response.status_code == status
