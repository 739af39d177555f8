"""A pipeline of one TextGeneration step over an OpenAILLM; `save_to_disk` writes Arrow."""

from __future__ import annotations

from datasets import Dataset
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import StepResources
from distilabel.steps.tasks import TextGeneration

from bench.peers.contract import job

REPLICAS = 4  # a step works on a batch at a time: several of them overlap their batches


def main() -> None:
    asked = job()
    batch = max(1, asked.in_flight // REPLICAS)
    with Pipeline(name="answers", cache_dir=asked.out / "cache") as pipeline:
        TextGeneration(
            name="answers",
            llm=OpenAILLM(
                model=asked.model,
                base_url=f"{asked.url}/v1",
                api_key="none",
                generation_kwargs={"max_new_tokens": 2048},
            ),
            input_batch_size=batch,
            resources=StepResources(replicas=REPLICAS),
        )
    seeds = Dataset.from_list([{"instruction": instruction} for instruction in asked.instructions()])
    asked.start()
    # With a batch no larger than the step's, the next is only asked for when one is done, and one replica works at a time.
    made = pipeline.run(dataset=seeds, dataset_batch_size=len(seeds), use_cache=asked.resumable)
    made.save_to_disk(asked.out / "dataset", save_card=False)
    asked.finish(len(made["default"]["train"]))


if __name__ == "__main__":
    main()
