"""The simulated vLLM answers, and misbehaves, as it promises."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from bench.simulated_vllm import Behaviour, Fault, FaultKind, ReasoningStyle, Simulated, running


@dataclass
class Teacher:
    """The simulated server, and a client of it."""

    simulated: Simulated
    session: aiohttp.ClientSession

    async def raw(self, text: str = "Hello", **fields: Any) -> tuple[int, bytes]:
        messages = [{"role": "user", "content": text}]
        body = {"model": "simulated", "messages": messages, **fields}
        url = f"{self.simulated.url}/v1/chat/completions"
        async with self.session.post(url, json=body) as response:
            return response.status, await response.read()

    async def ask(self, text: str = "Hello", **fields: Any) -> dict[str, Any]:
        status, body = await self.raw(text, **fields)
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def message(self, text: str = "Hello", **fields: Any) -> dict[str, Any]:
        message: dict[str, Any] = (await self.ask(text, **fields))["choices"][0]["message"]
        return message

    async def post(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", **headers}
        url = self.simulated.url + path
        async with self.session.post(url, data=data, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.session.get(self.simulated.url + path, headers=headers) as response:
            return response.status, await response.text()


@asynccontextmanager
async def teacher(**fields: Any) -> AsyncIterator[Teacher]:
    async with running(Behaviour(**fields)) as simulated, aiohttp.ClientSession() as session:
        yield Teacher(simulated, session)


def faulty(kind: FaultKind, **fields: Any) -> dict[str, Any]:
    return {"faults": (Fault(kind),), **fields}


async def until(condition: Any) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_good_answer_has_every_field_of_vllm() -> None:
    async with teacher() as it:
        body = await it.ask()
    assert list(body) == [
        "id", "object", "created", "model", "choices", "service_tier", "system_fingerprint",
        "usage", "prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params",
        "ec_transfer_params", "metrics",
    ]  # fmt: skip
    assert list(body["choices"][0]) == [
        "index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids",
        "routed_experts",
    ]  # fmt: skip
    assert list(body["choices"][0]["message"]) == [
        "role", "content", "refusal", "annotations", "audio", "function_call", "reasoning",
    ]  # fmt: skip
    assert body["id"].startswith("chatcmpl-")
    assert body["usage"]["total_tokens"] == sum(body["usage"][key] for key in ("prompt_tokens", "completion_tokens"))


async def test_the_answer_follows_from_prompt_seed_and_index() -> None:
    async with teacher(words=80) as it:
        first, again = await it.message("One"), await it.message("One")
        other, seeded = await it.message("Two"), await it.message("One", seed=7)
        two = (await it.ask("One", n=2))["choices"]
    assert first == again == two[0]["message"]
    texts = {m["content"] for m in (first, other, seeded, two[1]["message"])}
    assert len(texts) == 4
    assert len(first["content"].split()) == 80


@pytest.mark.parametrize(
    ("style", "opens", "closes"),
    [
        (ReasoningStyle.TAGS, True, True),
        (ReasoningStyle.TAGS_NO_OPEN, False, True),
        (ReasoningStyle.TAGS_UNCLOSED, True, False),
        (ReasoningStyle.NONE, False, False),
    ],
)
async def test_tags_stand_in_the_content(style: ReasoningStyle, opens: bool, closes: bool) -> None:
    async with teacher(reasoning=style) as it:
        message = await it.message()
    assert message["reasoning"] is None
    assert message["content"].startswith("<think>") is opens
    assert ("</think>" in message["content"]) is closes


async def test_reasoning_content_is_the_older_field() -> None:
    async with teacher(reasoning=ReasoningStyle.REASONING_CONTENT) as it:
        message = await it.message()
    assert message["reasoning_content"]
    assert "reasoning" not in message


async def test_max_tokens_cuts_even_within_the_reasoning() -> None:
    async with teacher(words=40, reasoning_words=40) as it:
        late = (await it.ask(max_tokens=50))["choices"][0]
        early = (await it.ask(max_tokens=10))["choices"][0]
    assert late["finish_reason"] == early["finish_reason"] == "length"
    assert len(late["message"]["content"].split()) == 10
    assert early["message"]["content"] is None
    assert len(early["message"]["reasoning"].split()) == 10


async def test_shares_draw_by_the_prompt() -> None:
    shares = {"duplicates_share": 0.25, "refusal_share": 0.25, "empty_share": 0.25}
    async with teacher(**shares, length_share=0.1) as it:
        answers = [(await it.ask(f"Prompt {i}"))["choices"][0] for i in range(100)]
    contents = [answer["message"]["content"] for answer in answers]
    assert 10 < contents.count("") < 45
    assert 10 < sum(content.startswith("I'm sorry") for content in contents) < 45
    assert 10 < sum(content.startswith("The answer that is") for content in contents) < 45
    assert 1 < sum(answer["finish_reason"] == "length" for answer in answers) < 30


async def test_a_stream_adds_up_to_the_answer() -> None:
    async with teacher() as it:
        whole = await it.message()
        status, body = await it.raw(stream=True, stream_options={"include_usage": True})
    assert status == 200
    lines = body.decode().strip().split("\n\n")
    assert lines.pop() == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 80
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    for field in ("reasoning", "content"):
        assert "".join(delta.get(field, "") for delta in deltas) == whole[field]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("data", "param", "words"),
    [
        (b'{"model": "x", ', "body.15", "'ctx': {'error': 'Expecting property name enclosed"),
        (b'{"model": "simulated"}', "body.messages", "{'type': 'missing', 'loc': 'body.messages'"),
        (b"[]", "body", "Input should be a valid dictionary"),
        (b'{"messages": "hi"}', "body.messages", "Input should be a valid list"),
        (b'{"messages": [], "max_tokens": 99999}', "max_tokens", "max_model_len=32768"),
        (b'{"messages": [], "stream_options": {"include_usage": true}}', "stream_options", "=True"),
    ],
)
async def test_bad_requests_get_the_words_of_vllm(data: bytes, param: str, words: str) -> None:
    async with teacher() as it:
        status, body = await it.post("/v1/chat/completions", data)
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, 400, param)
    assert words in body["error"]["message"]


async def test_a_body_that_is_not_utf8_gets_the_words_of_starlette() -> None:
    async with teacher() as it:
        status, body = await it.post("/v1/chat/completions", b'{"model": "\xff"}')
    assert (status, body) == (400, {"detail": "There was an error parsing the body"})


async def test_another_model_is_not_found() -> None:
    async with teacher() as it:
        status, body = await it.raw(model="gpt-9")
    message = "The model `gpt-9` does not exist. Valid aliases: simulated."
    error = {"message": message, "type": "NotFoundError", "param": "model", "code": 404}
    assert (status, json.loads(body)) == (404, {"error": error})


async def test_a_prompt_beyond_the_context_is_refused() -> None:
    async with teacher(max_model_len=100) as it:
        status, body = await it.raw("word " * 200)
    assert status == 400
    assert json.loads(body)["error"]["message"].startswith(
        "This model's maximum context length is 100 tokens. However, your prompt contains 258 "
    )


async def test_an_api_key_guards_v1_only() -> None:
    async with teacher(api_key="k") as it:
        assert await it.raw() == (401, b'{"error":"Unauthorized"}')
        assert (await it.get("/v1/models"))[0] == 401
        assert (await it.get("/v1/models", Authorization="Bearer k"))[0] == 200
        assert (await it.get("/health"))[0] == 200


async def test_the_flat_shape_is_that_of_older_releases() -> None:
    async with teacher(**faulty(FaultKind.HTTP_500), error_shape="flat") as it:
        status, body = await it.raw()
    assert status == 500
    assert list(json.loads(body)) == ["object", "message", "type", "param", "code"]


@pytest.mark.parametrize(
    ("kind", "status", "error_type"),
    [
        (FaultKind.HTTP_400, 400, "BadRequestError"),
        (FaultKind.HTTP_404_MODEL, 404, "NotFoundError"),
        (FaultKind.HTTP_422, 422, "UnprocessableEntityError"),
        (FaultKind.HTTP_429, 429, "Too Many Requests"),
        (FaultKind.HTTP_500, 500, "InternalServerError"),
        (FaultKind.HTTP_503, 503, "Service Unavailable"),
    ],
)
async def test_error_faults(kind: FaultKind, status: int, error_type: str) -> None:
    async with teacher(**faulty(kind)) as it:
        answered, body = await it.raw()
        assert it.simulated.stats.by_fault == {kind: 1}
    assert (answered, json.loads(body)["error"]["type"]) == (status, error_type)


@pytest.mark.parametrize(
    ("kind", "status"),
    [(FaultKind.HTTP_502_HTML, 502), (FaultKind.HTML_200, 200), (FaultKind.HTTP_401, 401)],
)
async def test_faults_whose_body_is_no_error_object(kind: FaultKind, status: int) -> None:
    async with teacher(**faulty(kind)) as it:
        answered, body = await it.raw()
    assert answered == status
    assert body.startswith(b"<") or json.loads(body) == {"error": "Unauthorized"}


async def test_empty_choices_and_wrong_model() -> None:
    async with teacher(**faulty(FaultKind.EMPTY_CHOICES)) as it:
        assert (await it.ask())["choices"] == []
        it.simulated.behaviour = Behaviour(**faulty(FaultKind.WRONG_MODEL))
        assert (await it.ask())["model"] == "another-model"


@pytest.mark.parametrize(
    ("kind", "finish_reason"),
    [
        (FaultKind.NULL_CONTENT, "stop"),
        (FaultKind.TOOL_CALLS, "tool_calls"),
        (FaultKind.ABORT, "abort"),
        (FaultKind.CONTENT_FILTER, "content_filter"),
    ],
)
async def test_odd_choices(kind: FaultKind, finish_reason: str) -> None:
    async with teacher(**faulty(kind)) as it:
        choice = (await it.ask())["choices"][0]
    assert choice["finish_reason"] == finish_reason
    no_text = kind in {FaultKind.NULL_CONTENT, FaultKind.TOOL_CALLS}
    assert (choice["message"]["content"] is None) is no_text
    assert ("tool_calls" in choice["message"]) is (kind is FaultKind.TOOL_CALLS)


async def test_text_that_no_database_takes() -> None:
    async with teacher(**faulty(FaultKind.NUL_IN_TEXT)) as it:
        assert "\x00" in (await it.message())["content"]
        it.simulated.behaviour = Behaviour(**faulty(FaultKind.LONE_SURROGATE))
        assert "\ud800" in (await it.message())["content"]
        it.simulated.behaviour = Behaviour(**faulty(FaultKind.INVALID_UTF8))
        with pytest.raises(UnicodeDecodeError):
            (await it.raw())[1].decode()


async def test_truncated_json_is_whole_http() -> None:
    async with teacher(**faulty(FaultKind.TRUNCATED_JSON)) as it:
        status, body = await it.raw()
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


async def test_a_big_body() -> None:
    async with teacher(**faulty(FaultKind.BIG_BODY), big_body_bytes=2_000_000) as it:
        assert len((await it.raw())[1]) > 2_000_000


@pytest.mark.parametrize("kind", [FaultKind.RESET_BEFORE, FaultKind.RESET_MID_BODY])
@pytest.mark.parametrize("stream", [False, True])
async def test_resets_are_resets(kind: FaultKind, stream: bool) -> None:
    async with teacher(**faulty(kind)) as it:
        with pytest.raises(ConnectionResetError):
            await read_to_the_end(it.simulated.url, stream=stream)
        assert it.simulated.stats.aborted == 0


async def read_to_the_end(url: str, *, stream: bool) -> bytes:
    """With a bare socket, because an HTTP client gives a reset another name."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"messages": [], "stream": stream}).encode()
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\n" + head.encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.SLOW_DRIP])
async def test_a_hang_and_a_drip_outlast_the_client(kind: FaultKind) -> None:
    async with teacher(**faulty(kind), drip_interval_s=0.02) as it:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await it.raw()
        await until(lambda: it.simulated.stats.in_flight == 0)
        assert it.simulated.stats.aborted == 1


async def test_keepalive_is_promised_and_broken() -> None:
    async with teacher(**faulty(FaultKind.CLOSE_KEEPALIVE)) as it:
        answer = await asyncio.wait_for(read_to_the_end(it.simulated.url, stream=False), 1)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" not in head.lower()
    assert json.loads(body)["choices"]


async def test_faults_are_matched_counted_and_shared() -> None:
    faults = (
        Fault(FaultKind.HTTP_500, match="poison"),
        Fault(FaultKind.HTTP_503, first_n=2),
        Fault(FaultKind.HTTP_429, share=0.3, match="shared"),
    )
    async with teacher(faults=faults) as it:
        statuses = [(await it.raw("well"))[0] for _ in range(4)]
        poisoned = [(await it.raw("some poison"))[0] for _ in range(2)]
        shared = [(await it.raw("shared"))[0] for _ in range(100)]
        assert it.simulated.stats.completed == 2 + shared.count(200)
    assert (statuses, poisoned) == ([503, 503, 200, 200], [500, 500])
    assert 10 < shared.count(429) < 50


async def test_beyond_capacity_requests_wait_and_the_metrics_show_it() -> None:
    async with teacher(capacity=2, latency_s=0.1) as it:
        asked = [asyncio.create_task(it.raw(str(i))) for i in range(5)]
        await until(lambda: it.simulated.stats.waiting == 3)
        metrics = (await it.get("/metrics"))[1]
        gone = asked.pop()
        gone.cancel()
        assert {status for status, _ in await asyncio.gather(*asked)} == {200}
        stats = it.simulated.stats
        assert (stats.running, stats.waiting, stats.running_peak, stats.aborted) == (0, 0, 2, 1)
    assert 'vllm:num_requests_running{engine="0",model_name="simulated"} 2.0' in metrics
    assert 'vllm:num_requests_waiting{engine="0",model_name="simulated"} 3.0' in metrics
    assert 'vllm:kv_cache_usage_perc{engine="0",model_name="simulated"} 0.0' in metrics


async def test_a_full_kv_cache_preempts_the_newest_and_all_are_answered() -> None:
    """Requests grow; what does not fit any more waits again, and the metrics count it."""
    async with teacher(kv_tokens=600, latency_s=0.1, words=150, reasoning_words=50) as it:
        asked = [asyncio.create_task(it.raw(str(i))) for i in range(8)]
        await until(lambda: it.simulated.engine.cache.preemptions > 0)
        metrics = (await it.get("/metrics"))[1]
        gone = asked.pop()
        gone.cancel()
        assert {status for status, _ in await asyncio.gather(*asked)} == {200}
        await until(lambda: it.simulated.stats.in_flight == 0)
        assert (it.simulated.stats.running, it.simulated.engine.cache.used) == (0, 0)
    assert 'vllm:num_preemptions_total{engine="0",model_name="simulated"} 0.0' not in metrics


async def test_a_shared_token_rate_makes_a_knee() -> None:
    """Two fit under the rate and take the latency; eight take four times as long as the tokens."""
    async with teacher(latency_s=0.08, words=40, reasoning_words=0, tokens_per_s_total=1000) as it:
        took = {}
        for together in (2, 8):
            start = time.perf_counter()
            await asyncio.gather(*(it.raw(str(i)) for i in range(together)))
            took[together] = time.perf_counter() - start
    assert 0.07 < took[2] < 0.25
    assert 0.31 < took[8] < 0.6


async def test_a_common_prefix_is_a_cache_hit() -> None:
    async with teacher() as it:
        await it.raw("shared " * 100 + "one")
        assert it.simulated.stats.prefix_cache_hits == 0
        await it.raw("shared " * 100 + "two")
        assert it.simulated.stats.prefix_cache_hits == 160


async def test_models_version_tokenize_and_unknown_paths() -> None:
    async with teacher(max_model_len=2048) as it:
        card = json.loads((await it.get("/v1/models"))[1])["data"][0]
        assert (card["id"], card["max_model_len"], card["owned_by"]) == ("simulated", 2048, "vllm")
        assert json.loads((await it.get("/version"))[1]) == {"version": "0.32.0"}
        status, body = await it.post("/tokenize", b'{"prompt": "four letters"}')
        assert (status, body["count"], body["max_model_len"]) == (200, 4, 2048)
        assert await it.get("/nowhere") == (404, '{"detail":"Not Found"}')


async def test_control_changes_resets_and_refuses() -> None:
    async with teacher() as it:
        change = {"track_prompts": True, "faults": [{"kind": "http_503", "first_n": 1}]}
        status, body = await it.post("/simulated/behaviour", json.dumps(change).encode())
        assert (status, body["track_prompts"], body["model"]) == (200, True, "simulated")
        assert [(await it.raw())[0] for _ in range(2)] == [503, 200]
        counted = json.loads((await it.get("/simulated/stats"))[1])
        assert (counted["requests"], counted["by_fault"]) == (2, {"http_503": 1})
        assert list(counted["prompts"].values()) == [2]
        assert (await it.post("/simulated/reset"))[1]["requests"] == 0
        assert (await it.raw())[0] == 503
        for bad in (b'{"speed": 1}', b'{"faults": [{"kind": "x"}]}', b'{"latency_s": "x"}', b"["):
            assert (await it.post("/simulated/behaviour", bad))[0] == 400


async def test_the_command_says_where_it_listens_and_stops_on_sigterm() -> None:
    command = ["-m", "bench.simulated_vllm", "--model", "m", "--fault", "kind=hang,match=a,b"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    url = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))["url"]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/simulated/behaviour") as response:
            behaviour = await response.json()
        fault = {"kind": "hang", "share": 1.0, "match": "a,b", "first_n": None}
        assert (behaviour["model"], behaviour["faults"]) == ("m", [fault])
        body = {"messages": [{"role": "user", "content": "a,b"}]}
        hung = asyncio.create_task(session.post(f"{url}/v1/chat/completions", json=body))
        counted: dict[str, Any] = {}
        while not counted.get("by_fault"):
            async with session.get(f"{url}/simulated/stats") as response:
                counted = await response.json()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 3) == 0
        with pytest.raises(aiohttp.ClientError):
            await hung
