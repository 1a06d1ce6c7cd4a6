"""What structured output costs: constrained streams compared with free ones of the same model.

    uv run python benchmarks/structured.py                         # a tiny random model
    uv run python benchmarks/structured.py --model smollm2 --streams 16

The ratio is that of the tokens per second of `--streams` constrained requests to those of as many free ones. Each round
runs both, in alternating order, and processor time is counted as well as wall time, so that other work on the machine
does not decide. The time to the first token is that of a single request whose grammar is cached, each with a prompt of
its own. Results are medians with the lowest and the highest value. `structured_proof.py` proves the answers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlxk_core.api.generation import (
    Constraint,
    Delta,
    Generation,
    GenerationRequest,
    GenerationService,
    Message,
    Sampling,
)
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model, Resolver
from mlxk_testing.tiny_models import random_model

FIRST_TOKENS = 15
LONG = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "string", "minLength": 5}, "minItems": 500}},
    "required": ["items"],
    "additionalProperties": False,
}
"""A value that is longer than any answer here, so that constrained answers have the length of free ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name or a folder (default: a tiny random model)")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    host = Host.discover()
    with tempfile.TemporaryDirectory() as folder, GenerationService(host, concurrency=arguments.streams) as service:
        model = _model(arguments.model, Path(folder), host)
        _ratio(service, model, arguments)


def _model(name: str | None, folder: Path, host: Host) -> Model:
    if name:
        return Resolver(host).resolve(name)
    return Model(name="tiny", path=random_model(folder / "tiny", hidden=256, layers=4))


def _request(model: Model, seed: int, tokens: int, constraint: Constraint | None) -> GenerationRequest:
    return GenerationRequest(
        model=model,
        prompt=[Message(role="user", content=f"Write a list, number {seed}.")],
        sampling=Sampling(temperature=1, seed=seed),
        max_tokens=tokens,
        constraint=constraint,
        chat_stops=False,
    )


def _ratio(service: GenerationService, model: Model, arguments: argparse.Namespace) -> None:
    constraint = Constraint(kind="json_schema", value=LONG)
    for each in (None, constraint):
        _speed(service, model, arguments.streams, 8, each)  # loads the model, compiles the grammar
    speeds: dict[str, list[tuple[float, float]]] = {"free": [], "constrained": []}
    for i in range(arguments.rounds):
        for name in _alternating(i):
            each = constraint if name == "constrained" else None
            speeds[name].append(_speed(service, model, arguments.streams, arguments.tokens, each))
    for name, found in speeds.items():
        wall, processor = zip(*found, strict=True)
        cost = _spread([1e3 / speed for speed in processor], 2)
        print(f"{arguments.streams} {name} streams: {_spread(wall, 1)} tokens/s, {cost} ms of CPU a token")
    for i, clock in enumerate(("wall", "processor")):
        pairs = zip(speeds["free"], speeds["constrained"], strict=True)
        print(f"ratio by {clock} time: {_spread([kept[i] / free[i] for free, kept in pairs], 2)}")
    first: dict[str, list[float]] = {"free": [], "constrained": []}
    for i in range(FIRST_TOKENS):
        for name in _alternating(i):
            each = constraint if name == "constrained" else None
            first[name].append(_first(service, model, 2 * i + (each is None), each))
    for name, times in first.items():
        print(f"first token, {name}: {_spread(times, 1)} ms")


def _alternating(round: int) -> tuple[str, str]:
    return ("constrained", "free") if round % 2 else ("free", "constrained")


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}-{high})"


def _speed(
    service: GenerationService, model: Model, streams: int, tokens: int, constraint: Constraint | None
) -> tuple[float, float]:
    """Tokens per second of wall time and of processor time."""
    begin, used = time.perf_counter(), time.process_time()
    requests = [_request(model, seed, tokens, constraint) for seed in range(streams)]
    with ThreadPoolExecutor(streams) as pool:  # a request starts when its events are read
        completions = pool.map(Generation.result, service.submit_all(requests))
        written = sum(completion.usage.completion_tokens for completion in completions)
    return written / (time.perf_counter() - begin), written / (time.process_time() - used)


def _first(service: GenerationService, model: Model, seed: int, constraint: Constraint | None) -> float:
    """Milliseconds to the first text of one request."""
    begin = time.perf_counter()
    with service.submit(_request(model, seed, 4, constraint)) as generation:
        for event in generation:
            if isinstance(event, Delta):
                break
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
