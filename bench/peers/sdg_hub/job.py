"""A flow of three blocks: build the messages, ask, take the text out. Checkpoints only where a crash is to come."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sdg_hub import Flow

from bench.peers.contract import job

FLOW = """\
metadata: {name: Answers, id: answers-001, version: 1.0.0, author: bench}
blocks:
- block_type: PromptBuilderBlock
  block_config: {block_name: build, input_cols: [instruction], output_cols: messages, prompt_config_path: prompt.yaml}
- block_type: LLMChatBlock
  block_config: {block_name: ask, input_cols: messages, output_cols: reply, async_mode: true}
- block_type: LLMResponseExtractorBlock
  block_config: {block_name: take, input_cols: reply, extract_content: true}
"""
PROMPT = "- {role: user, content: '{{ instruction }}'}\n"


def main() -> None:
    asked = job()
    path = asked.out / "flow.yaml"
    path.write_text(FLOW, encoding="utf-8")
    path.with_name("prompt.yaml").write_text(PROMPT, encoding="utf-8")
    flow = Flow.from_yaml(str(path))
    flow.set_model_config(model=f"hosted_vllm/{asked.model}", api_base=f"{asked.url}/v1", api_key="none")
    seeds = pd.DataFrame({"instruction": asked.instructions()})
    # A checkpoint is a barrier: the next rows wait for the slowest of these.
    checkpoints: dict[str, Any] = {}
    if asked.resumable:
        checkpoints = {"checkpoint_dir": str(asked.out / "checkpoints"), "save_freq": asked.in_flight}
    asked.start()
    rows = flow.generate(seeds, max_concurrency=asked.in_flight, **checkpoints)
    rows.to_json(asked.out / "dataset.jsonl", orient="records", lines=True)
    asked.finish(len(rows))


if __name__ == "__main__":
    main()
