"""curator.LLM over its `openai` backend, as its README has it for an OpenAI-compatible server."""

from __future__ import annotations

from typing import Any

from bespokelabs import curator
from datasets import Dataset

from bench.peers.contract import job


class Answerer(curator.LLM):  # type: ignore[misc]
    def prompt(self, row: dict[str, Any]) -> str:
        return str(row["instruction"])

    def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
        return {"instruction": row["instruction"], "output": response}


def main() -> None:
    asked = job()
    llm = Answerer(
        model_name=asked.model,
        backend="openai",
        backend_params={
            "base_url": f"{asked.url}/v1",
            "api_key": "none",
            "max_concurrent_requests": asked.in_flight,
            # Its defaults are a paid service's limits, which a server of one's own has not.
            "max_requests_per_minute": 1_000_000,
            "max_tokens_per_minute": 10_000_000_000,
        },
    )
    seeds = Dataset.from_list([{"instruction": instruction} for instruction in asked.instructions()])
    asked.start()
    result = llm(seeds, working_dir=str(asked.out / "dataset"))
    asked.finish(len(result.dataset))


if __name__ == "__main__":
    main()
