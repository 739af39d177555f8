"""A simulated vLLM: an OpenAI-compatible server with no model behind it.

It answers as vLLM 0.32 does, errors included, and misbehaves on request, for load and fault tests:
`python -m bench.simulated_vllm --latency-s 2`, or in process, `async with running(Behaviour(…))`.
The shapes were taken from vLLM's own pydantic models and exception handlers, not from its docs.

What it leaves out: logprobs, token ids, tools, structured outputs (accepted and ignored), LoRA, and
vLLM's histograms. A token here is a word of the answer, or four characters of the prompt.
"""

from bench.simulated_vllm.behaviour import Behaviour, Fault, FaultKind, ReasoningStyle
from bench.simulated_vllm.server import Simulated, running
from bench.simulated_vllm.stats import Stats

__all__ = ["Behaviour", "Fault", "FaultKind", "ReasoningStyle", "Simulated", "Stats", "running"]
