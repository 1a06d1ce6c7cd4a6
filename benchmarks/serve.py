"""`mlxk serve` beside `mlx_lm.server`: time to first text, tokens/s and requests/s for 1, 4 and 16 clients at once.

    uv run python benchmarks/serve.py [--smollm2 | --model FOLDER] [--clients 1,4,16] [--requests 3] [--max-tokens 64]

Both serve the same folder of safetensors and stream greedy answers to the same prompts, one server at a time. Without
an option it is a tiny model, which shows what the servers themselves cost. `--requests` is how many each client makes,
one after another. A first round, which loads the model, is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from chats import Chat, text_of
from servers import Served, mlx_lm_server, mlxk_serve
from versus_mlx_lm import export_smollm2

from mlxk_testing.tiny_models import random_model

NUMBERS = itertools.count(1)  # every prompt begins with another one, so that none is remembered


@dataclass
class Timing:
    """One answer, in seconds and tokens."""

    first: float
    tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--clients", default="1,4,16", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2, help="The servers take turns so many times.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or Path(scratch) / ("SmolLM2-135M" if options.smollm2 else "tiny")
        if not options.model:
            (export_smollm2 if options.smollm2 else random_model)(folder)
        rows: dict[tuple[int, str], list[tuple[float, float, float, float]]] = {}
        for _ in range(options.rounds):
            for name, model, serving in _servers(folder.resolve()):
                with serving as served:
                    asyncio.run(measure(served, model, 2, 1, options.max_tokens))
                    for clients in options.clients:
                        row = asyncio.run(measure(served, model, clients, options.requests, options.max_tokens))
                        rows.setdefault((clients, name), []).append(row)
                        print(f"{clients} clients of {name}: {row[2]:.1f} tokens/s", file=sys.stderr)
    print(f"{'clients':>7}  {'':<14}{'first text':>12}{'slowest':>10}{'tokens/s':>11}{'requests/s':>12}   (medians)")
    for (clients, name), results in sorted(rows.items()):
        first, slowest, tokens, requests = (statistics.median(column) for column in zip(*results, strict=True))
        print(
            f"{clients:>7}  {name:<14}{first * 1000:>9.0f} ms{slowest * 1000:>7.0f} ms{tokens:>11.1f}{requests:>12.2f}"
        )


def _servers(folder: Path) -> Iterator[tuple[str, str, AbstractContextManager[Served]]]:
    yield "mlxk serve", folder.name, mlxk_serve("--model", str(folder))
    yield "mlx_lm.server", str(folder), mlx_lm_server(folder)


async def measure(
    served: Served, model: str, clients: int, requests: int, max_tokens: int
) -> tuple[float, float, float, float]:
    """(median and longest seconds to the first text, tokens per second, requests per second) of all clients."""

    async def client() -> list[Timing]:
        return [await ask(served, model, max_tokens) for _ in range(requests)]

    started = time.monotonic()
    timings = [timing for each in await asyncio.gather(*(client() for _ in range(clients))) for timing in each]
    seconds = time.monotonic() - started
    firsts = [timing.first for timing in timings]
    tokens = sum(timing.tokens for timing in timings)
    return statistics.median(firsts), max(firsts), tokens / seconds, len(timings) / seconds


async def ask(served: Served, model: str, max_tokens: int) -> Timing:
    prompt = f"{next(NUMBERS)}. Write a long story about a lighthouse and the people who keep it."
    fields = {"max_tokens": max_tokens, "temperature": 0, "stream_options": {"include_usage": True}}
    first, tokens = None, 0
    async with Chat(served.port, model, prompt, **fields) as chat:
        started = time.monotonic()
        await chat.send()
        async for event in chat.events():
            if first is None and text_of(event):
                first = time.monotonic() - started
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return Timing(first if first is not None else time.monotonic() - started, tokens)


if __name__ == "__main__":
    main()
