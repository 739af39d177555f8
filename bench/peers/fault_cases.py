"""The faults that every tool meets, one at a time, and the row that says what came of it."""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = tuple(f"Say something of number {number}." for number in range(2000))
UNLUCKY = "number 1000."
IN_FLIGHT = 256
LATENCY_S = 1.0
LIMIT_S = 90.0


@dataclass(frozen=True)
class FaultCase:
    """`fault` as the simulated teacher's flag takes it; `kill`: SIGKILL half-way, then the same command again."""

    name: str
    words: str
    fault: str | None = None
    kill: bool = False


ALL = (
    FaultCase("truncated", "One answer whose JSON is cut off, once", f"kind=truncated_json,first_n=1,match={UNLUCKY}"),
    FaultCase("hopeless", "One prompt that always gets HTTP 500", f"kind=http_500,match={UNLUCKY}"),
    FaultCase("killed", "kill -9 half-way, then the same command again", kill=True),
)
CASES = {case.name: case for case in ALL}


def flags(case: FaultCase) -> list[str]:
    made = ["--latency-s", str(LATENCY_S), "--track-prompts"]
    return [*made, "--fault", case.fault] if case.fault else made


@dataclass(frozen=True)
class Result:
    who: str
    written: int
    repeated: int
    note: str

    def row(self) -> str:
        return f"| {self.who} | {self.written} of {len(SEEDS)} | {self.repeated} | {self.note or 'finishes'} |"
