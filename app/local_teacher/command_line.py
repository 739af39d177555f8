"""How vLLM is started: its arguments and its environment, each with its reason."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL = "SmolLM2-135M-Instruct"
MAX_MODEL_TOKENS = 2048
MAX_RUNNING = 64


def vllm_arguments(weights: Path, host: str, port: int) -> tuple[str, ...]:
    """Build what follows `python`.

    The `vllm` script will not do: it looks for a distribution named vllm.
    """
    return (
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--host", host, "--port", str(port)),
        *("--model", str(weights), "--served-model-name", MODEL),
        *("--max-model-len", str(MAX_MODEL_TOKENS), "--max-num-seqs", str(MAX_RUNNING)),
        # Compiling took 90 s longer and made nothing faster.
        "--enforce-eager",
        "--enable-prefix-caching",
        # The worker inside the engine's process; see VLLM_ENABLE_V1_MULTIPROCESSING.
        *("--distributed-executor-backend", "uni"),
        "--disable-uvicorn-access-log",
    )


def settings(inherited: Mapping[str, str]) -> dict[str, str]:
    """Build the environment for vLLM; what the user has set on threads and memory stays."""
    ours = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # vLLM overrides the executor `uni` on a CPU unless this is 0, because it cannot
        # bind threads there. On two cores unbound is better: up in 20 s rather than 29 s
        # (one process fewer imports torch), and at 48 in flight 492 tokens/s rather than
        # 313 in back-to-back runs, since no core is set aside for the scheduler.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    }
    adjustable = {
        # GiB. 46,000 tokens: 22 requests of the full length, and far more of the usual one.
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # Unset, vLLM serves with one thread. Threads that wait sleep rather than spin: on
        # an idle machine spinning is faster (492 tokens/s against 370), but beside one busy
        # process it fell to 86, and sleeping to 216; a demo always has company.
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    return adjustable | dict(inherited) | ours
