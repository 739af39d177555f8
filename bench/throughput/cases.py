"""The cases of `make bench`, and what a measurement of one says."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A simulated latency, calls in flight, and seeds; `ideal` answers a second where the latency sets it.

    `processes` is how many workers Limbeck runs: without latency the cores are the limit, and a user with two would run two.
    """

    latency_s: float
    in_flight: int
    seeds: int
    processes: int = 1

    @property
    def name(self) -> str:
        return f"{self.latency_s:g}s/{self.in_flight}"

    @property
    def ideal(self) -> float | None:
        return self.in_flight / self.latency_s if self.latency_s else None


# So many seeds that the slowest peer takes about 40 seconds here.
CASES = (Case(0.0, 256, 4096, processes=2), Case(2.0, 256, 2560), Case(2.0, 1024, 8192))


@dataclass(frozen=True)
class Measured:
    """`seconds` from the first request to the last row written; None: the job never got there."""

    who: str
    version: str
    written: int
    seconds: float | None
    note: str = ""

    @property
    def rate(self) -> float | None:
        return self.written / self.seconds if self.seconds else None


def choose_cases(made: argparse.ArgumentParser) -> None:
    names = [case.name for case in CASES]
    made.add_argument("--case", dest="cases", action="append", choices=names, help="repeatable; all of them by default")


def chosen(names: list[str] | None) -> list[Case]:
    return [case for case in CASES if not names or case.name in names]


def table(case: Case, rows: list[Measured], limit: float | None = None) -> str:
    """Markdown; `limit`: the bare loop's answers a second, if it was measured."""
    ideal = f"ideal {case.ideal:.0f}/s" if case.ideal else "no latency, so no ideal"
    lines = [
        f"\n{case.latency_s:g} s latency, {case.in_flight} in flight, {case.seeds} seeds; {ideal}\n",
        "| | version | rows of asked | samples/s | of bare | of ideal | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = f"{row.rate:.0f}" if row.rate else "-"
        of_bare = f"{row.rate / limit:.1%}" if row.rate and limit else "-"
        of_ideal = f"{row.rate / case.ideal:.1%}" if row.rate and case.ideal else "-"
        asked = f"{row.written} of {case.seeds}"
        lines.append(f"| {row.who} | {row.version} | {asked} | {rate} | {of_bare} | {of_ideal} | {row.note} |")
    return "\n".join(lines)
