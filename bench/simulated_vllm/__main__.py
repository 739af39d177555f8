"""`python -m bench.simulated_vllm --port 0 --latency-s 2 --fault kind=http_503,share=0.1`.

Prints `{"url": …}` on a line of its own once it listens; stops on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import fields
from typing import Any

import orjson
import uvloop

from bench.simulated_vllm.behaviour import Behaviour, FaultKind, ReasoningStyle
from bench.simulated_vllm.server import running


def parser() -> argparse.ArgumentParser:
    """One flag for each field of Behaviour, by its name."""
    made = argparse.ArgumentParser(prog="python -m bench.simulated_vllm", description=__doc__)
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    default = Behaviour()
    for field in fields(Behaviour):
        flag, value = f"--{field.name.replace('_', '-')}", getattr(default, field.name)
        if field.name == "faults":
            kinds = ", ".join(FaultKind)
            text = f"kind=KIND[,share=S][,first_n=N][,match=TEXT], repeatable; kinds: {kinds}"
            made.add_argument("--fault", dest="faults", type=pairs, action="append", help=text)
        elif isinstance(value, bool):
            made.add_argument(flag, action="store_true")
        elif isinstance(value, ReasoningStyle):
            made.add_argument(flag, choices=list(ReasoningStyle), default=value)
        else:
            kind = str if value is None else type(value)
            made.add_argument(flag, type=kind, default=value, help=f"default: {value}")
    return made


def pairs(text: str) -> dict[str, str]:
    """`match` may hold commas if it comes last."""
    head, found, match = text.partition("match=")
    made = dict(item.split("=", 1) for item in head.strip(",").split(",") if item)
    return {**made, "match": match} if found else made


async def serve(host: str, port: int, behaviour: Behaviour) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(behaviour, host, port) as simulated:
        sys.stdout.write(orjson.dumps({"url": simulated.url}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    made = parser()
    options: dict[str, Any] = vars(made.parse_args())
    host, port = options.pop("host"), options.pop("port")
    options["faults"] = options["faults"] or []
    try:
        behaviour = Behaviour().changed(options)
    except (ValueError, TypeError, KeyError) as exc:
        made.error(str(exc))
    uvloop.run(serve(host, port, behaviour))


if __name__ == "__main__":
    main()
