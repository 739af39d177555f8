"""A seed dataset and one LLM text column; `create` writes Parquet row groups."""

from __future__ import annotations

import data_designer.config as dd
import pandas as pd
from data_designer.interface import DataDesigner

from bench.peers.contract import job


def main() -> None:
    asked = job()
    designer = DataDesigner(
        artifact_path=asked.out,
        model_providers=[dd.ModelProvider(name="vllm", endpoint=f"{asked.url}/v1", provider_type="openai", api_key="none")],
    )
    # Its own default port for metrics may be another run's.
    designer.set_run_config(dd.RunConfig(otel_metrics_port=None))
    model = dd.ModelConfig(
        alias="teacher",
        model=asked.model,
        provider="vllm",
        inference_parameters=dd.ChatCompletionInferenceParams(max_parallel_requests=asked.in_flight),
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    seeds = pd.DataFrame({"instruction": asked.instructions()})
    source = dd.LocalFileSeedSource.from_dataframe(seeds, str(asked.out / "seeds.parquet"))
    builder.with_seed_dataset(source)
    builder.add_column(dd.LLMTextColumnConfig(name="output", model_alias="teacher", prompt="{{ instruction }}"))
    resume = dd.ResumeMode.IF_POSSIBLE if asked.resumable else dd.ResumeMode.NEVER
    asked.start()
    result = designer.create(builder, num_records=len(seeds), dataset_name="dataset", resume=resume)
    asked.finish(len(result.load_dataset()))


if __name__ == "__main__":
    main()
