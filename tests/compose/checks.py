"""What must hold of the containers, the funnel and the export."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import httpx

from app.cli.client import Api
from tests.compose.docker import UP_S, Compose, Failed, say

UID = 10001


def expect(condition: bool, words: str) -> None:
    if not condition:
        raise Failed(words)
    say(f"  ok: {words}")


def check_containers(compose: Compose) -> None:
    """What docker says of them, and what the image's own processes say of themselves."""
    state = compose.inspect("migrate")["State"]
    expect(state["Status"] == "exited" and state["ExitCode"] == 0, "migrate ran once and ended with status 0")
    for service in ("api", "worker"):
        user = compose.run("exec", "-T", service, "python", "-c", "import os; print(os.getuid())").strip()
        expect(user == str(UID), f"{service} runs as uid {user}")
        host = compose.inspect(service)["HostConfig"]
        confined = host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        expect(confined, f"{service}: read-only root, no capabilities, not privileged")
    published = {service: compose.inspect(service)["HostConfig"]["PortBindings"] or {} for service in ("postgres", "worker")}
    expect(not any(published.values()), "postgres and worker publish no port")
    bindings = compose.inspect("api")["HostConfig"]["PortBindings"]["8000/tcp"]
    expect([binding["HostIp"] for binding in bindings] == ["127.0.0.1"], "api is published on 127.0.0.1 only")


def check_teacher(compose: Compose, url: str) -> None:
    """Any HTTP answer will do: it is the way there that is looked at."""
    probe = (
        "import sys, urllib.error, urllib.request\n"
        "try: print(urllib.request.urlopen(sys.argv[1], timeout=10).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    first = url.split(",", maxsplit=1)[0].rstrip("/").removesuffix("/v1")
    status = compose.run("exec", "-T", "worker", "python", "-c", probe, f"{first}/v1/models").strip()
    expect(status.isdigit(), f"the worker's container reaches the teacher: HTTP {status} from {first}/v1/models")


def check_refusals(url: str) -> None:
    for words, headers in (("no key", {}), ("a wrong key", {"Authorization": "Bearer lk_wrong"})):
        for method in ("GET", "POST"):
            answer = httpx.request(method, f"{url}/v1/datasets", headers=headers, json={"name": "x"}, trust_env=False)
            refused = answer.status_code == httpx.codes.UNAUTHORIZED
            expect(refused, f"{method} /v1/datasets with {words}: HTTP {answer.status_code}")


def settled(view: dict[str, Any]) -> int:
    return int(view["seeds"]["done"] + view["seeds"]["failed"] + view["seeds"]["cancelled"])


def check_funnel(view: dict[str, Any], queued: int) -> None:
    """The seeds that were acknowledged are all somewhere, at any instant."""
    seeds, samples = view["seeds"], view["samples"]
    parts = sum(seeds[state] for state in ("queued", "leased", "done", "failed", "cancelled"))
    if not seeds["total"] == parts == queued:
        msg = f"of {queued} acknowledged seeds the funnel has {seeds}"
        raise Failed(msg)
    if samples["rejected"] != sum(samples["by_reason"].values()):
        msg = f"the rejects do not add up: {samples}"
        raise Failed(msg)


def check_end(view: dict[str, Any], queued: int, *, simulated: bool) -> None:
    seeds, samples, attempts = view["seeds"], view["samples"], view["attempts"]
    say(f"  seeds {seeds}, samples {samples}, attempts {attempts}, tokens {view['tokens']}")
    expect(settled(view) == queued == seeds["total"], f"all {queued} seeds are settled")
    expect(attempts["total"] >= seeds["done"] <= queued, f"{attempts['total']} attempts for them")
    if simulated:
        expect(seeds["failed"] == 0, "none failed")
        expect(samples["accepted"] + samples["rejected"] == queued, "every seed has its one sample")


def check_export(api: Api, name: str, accepted: int) -> None:
    with tempfile.TemporaryDirectory(prefix="limbeck-export-") as made:
        path = Path(made) / "export.jsonl"
        written = api.export(name, path)
        data = path.read_bytes()
    lines = [json.loads(line) for line in data.splitlines()]
    whole = written == len(lines) == accepted and (data.endswith(b"\n") or not data)
    expect(whole, f"the export has {len(lines)} lines for {accepted} accepted samples, and every one parses")
    expect(len({line["meta"]["sample_id"] for line in lines}) == accepted, "no sample is in it twice")
    expect(len({line["meta"]["seed_id"] for line in lines}) == accepted, "no seed is in it twice")
    expect(all(line["output"] and line["instruction"] for line in lines), "every line has instruction and output")
    say(f"  the first: {json.dumps(lines[0], ensure_ascii=False)[:400]}")


def check_stop(compose: Compose) -> None:
    """SIGTERM reaches the process, which drains and ends by itself."""
    compose.run("stop", "worker", "api", timeout_s=UP_S)
    for service in ("worker", "api"):
        state = compose.inspect(service)["State"]
        expect(state["ExitCode"] == 0, f"{service} stopped with status {state['ExitCode']} when asked to")
