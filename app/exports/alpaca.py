"""alpaca: `instruction`, `input`, `output`, with `reasoning` and `meta` beside them.

The three names are Stanford Alpaca's (tatsu-lab/stanford_alpaca), which every trainer reads.
"""

from __future__ import annotations

from sqlalchemy import RowMapping

MEDIA_TYPE = "application/x-ndjson"


def line(row: RowMapping) -> dict[str, object]:
    """One sample as it is exported; `reasoning` is empty where the teacher gave none."""
    return {
        "instruction": row["instruction"],
        "input": row["input"],
        "output": row["response"],
        "reasoning": row["reasoning"] or "",
        "meta": {
            "sample_id": row["sample_id"],
            "seed_id": row["seed_id"],
            "teacher": row["teacher"],
            "recipe_hash": row["recipe_hash"],
            "tokens": {"prompt": row["prompt_tokens"], "completion": row["completion_tokens"]},
        },
    }
