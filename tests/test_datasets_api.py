"""/v1/datasets: made, followed, paused, cancelled, requeued, deleted; and every refusal in words."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.stack import Client


async def test_the_answer_shows_the_recipe_with_every_default(client: Client) -> None:
    """A default curation list applies, and is shown; the hash is over what is shown."""
    view = await client.create()
    assert view["state"] == "idle"
    assert view["recipe"]["teacher"] == "default"
    assert view["recipe"]["curation"][0]["check"] == "length"
    assert view["recipe_hash"].startswith("sha256:")
    assert (await client.create("same"))["recipe_hash"] == view["recipe_hash"]
    assert (await client.create("other", max_attempts=5))["recipe_hash"] != view["recipe_hash"]


async def test_a_taken_name_is_409(client: Client) -> None:
    """With words that name it."""
    await client.create()
    response = await client.http.post("/v1/datasets", json={"name": "d"})
    assert (response.status_code, "'d'" in response.json()["detail"]) == (409, True)


BAD_RECIPES: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": 1}, "recipe.temperature", "unknown field"),
    ({"sampling": {"temprature": 1}}, "recipe.sampling.temprature", "unknown field"),
    ({"curation": [{"check": "lenght"}]}, "recipe.curation.0", "there is no check 'lenght'; known: 'length'"),
    ({"curation": [{"check": "length", "minimum": 3}]}, "recipe.curation.0.length.minimum", "unknown field"),
    ({"curation": [{}]}, "recipe.curation.0", "names its check"),
    ({"curation": [{"check": "length", "min_chars": 9, "max_chars": 3}]}, "recipe.curation.0.length", "nothing could pass"),
    ({"teacher": "gpt"}, "recipe.teacher", "there is no teacher 'gpt'; configured: default"),
    ({"template": "{instruktion}"}, "recipe.template", "unknown field {instruktion}"),
    ({"template": "{instruction"}, "recipe.template", "write a literal brace twice"),
    ({"samples_per_seed": 0}, "recipe.samples_per_seed", "greater than or equal to 1"),
]


@pytest.mark.parametrize(("recipe", "field", "words"), BAD_RECIPES, ids=[field for _, field, _ in BAD_RECIPES])
async def test_a_recipe_that_does_not_validate_names_the_field(
    client: Client, recipe: dict[str, Any], field: str, words: str
) -> None:
    """422, with the field as the user wrote it."""
    response = await client.http.post("/v1/datasets", json={"name": "d", "recipe": recipe})
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert words in error["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"null",
        b'{"name": "a b"}',
        b'{"name": "d", "recipe": {"sampling": {"temperature": NaN}}}',
        b'{"name": "\\ud800"}',
        b'{"name": "d", "recipe": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"\xff\xfe",
    ],
)
async def test_no_body_makes_a_server_error(client: Client, body: bytes) -> None:
    """400 or 422, as a problem detail."""
    response = await client.http.post("/v1/datasets", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"]


async def test_a_body_past_the_limit_is_413(client: Client) -> None:
    """Only seeds may be as long as they like."""
    response = await client.http.post("/v1/datasets", content=b" " * 5_000_000, headers={"content-type": "application/json"})
    assert response.status_code == 413


async def test_pause_resume_cancel(client: Client) -> None:
    """Cancelling is for good, and cancels what is queued."""
    await client.create()
    await client.push("d", [{"instruction": "a"}, {"instruction": "b"}])
    for action, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        response = await client.http.post(f"/v1/datasets/d/{action}")
        assert (response.status_code, response.json()["state"]) == (200, state)
    assert (await client.view())["seeds"]["cancelled"] == 2
    for action in ("pause", "resume", "requeue"):
        assert (await client.http.post(f"/v1/datasets/d/{action}")).status_code == 409


async def test_delete_takes_all_with_it_and_frees_the_name(client: Client) -> None:
    """Then there is no such dataset, and the name can be used again."""
    await client.create()
    await client.push("d", [{"instruction": "a"}])
    assert (await client.http.delete("/v1/datasets/d")).status_code == 204
    assert (await client.http.get("/v1/datasets/d")).status_code == 404
    assert (await client.create())["seeds"]["total"] == 0


async def test_listing_pages_through_all(client: Client) -> None:
    """Oldest first; the cursor of a full page leads on."""
    for number in range(5):
        await client.create(f"d{number}")
    names: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.http.get("/v1/datasets", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        names += [dataset["name"] for dataset in page["datasets"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == [f"d{number}" for number in range(5)]
    assert (await client.http.get("/v1/datasets", params={"cursor": "x"})).status_code == 422


async def test_only_the_admin_key_opens_v1(client: Client) -> None:
    """401 with a challenge, for no key and for a wrong one; health needs none."""
    for headers in ({"authorization": ""}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer k\u00e9y"}):
        response = await client.http.get("/v1/datasets", headers=httpx.Headers(headers, encoding="latin-1"))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["content-type"] == "application/problem+json"
        assert (await client.http.get("/healthz", headers={"authorization": ""})).json() == {"status": "ok"}
        assert (await client.http.get("/readyz", headers={"authorization": ""})).json() == {"status": "ready"}


async def test_unknown_paths_and_methods_are_problem_details_too(client: Client) -> None:
    """404 and 405."""
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/datasets", 405), ("GET", "/v1/datasets/a%00b", 404)):
        response = await client.http.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


async def test_openapi_describes_every_endpoint_with_its_errors(client: Client) -> None:
    """Each /v1 operation has a summary, the bearer scheme and problem details; nothing points to a CDN."""
    document = (await client.http.get("/openapi.json")).json()
    operations = [op for path, item in document["paths"].items() if path.startswith("/v1") for op in item.values()]
    assert len(operations) >= 12
    for operation in operations:
        assert operation["description"]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert "application/problem+json" in operation["responses"]["401"]["content"]
    assert "Problem" in document["components"]["schemas"]
    assert (await client.http.get("/docs")).status_code == 404
