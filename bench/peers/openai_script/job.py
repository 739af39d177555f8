"""The script that everybody writes first: the openai SDK, a semaphore, a JSONL file that a second run goes on from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI, OpenAIError

from bench.peers.contract import job


def already_there(path: Path) -> set[str]:
    if not path.exists():
        return set()
    return {json.loads(line)["instruction"] for line in path.read_text(encoding="utf-8").splitlines()}


async def main() -> None:
    asked = job()
    path = asked.out / "dataset.jsonl"
    done = already_there(path)
    client = AsyncOpenAI(base_url=f"{asked.url}/v1", api_key="none")
    turns = asyncio.Semaphore(asked.in_flight)
    with path.open("a", encoding="utf-8") as sink:

        async def ask(instruction: str) -> None:
            messages: Any = [{"role": "user", "content": instruction}]
            async with turns:
                try:
                    answer = await client.chat.completions.create(model=asked.model, messages=messages)
                except (OpenAIError, json.JSONDecodeError) as error:
                    print(f"given up: {instruction!r}: {error}", flush=True)
                    return
            row = {"instruction": instruction, "output": answer.choices[0].message.content}
            sink.write(json.dumps(row, ensure_ascii=False) + "\n")
            sink.flush()

        left = [instruction for instruction in asked.instructions() if instruction not in done]
        asked.start()
        await asyncio.gather(*(ask(instruction) for instruction in left))
    asked.finish(len(already_there(path)))


if __name__ == "__main__":
    asyncio.run(main())
