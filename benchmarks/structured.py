"""What structured output costs: constrained streams beside free ones, and many requests with many schemas.

    uv run python benchmarks/structured.py                         # a tiny random model
    uv run python benchmarks/structured.py --model smollm2 --streams 16
    uv run python benchmarks/structured.py --requests 1000         # 50 schemas; every answer is valid or `length`

The ratio is tokens per second of `--streams` constrained requests to that of as many free ones, on one model. The time
to the first token is that of a single request whose grammar is cached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import regex

from mlxk_core.api.generation import Constraint, GenerationRequest, GenerationService, Message, Progress, Sampling
from mlxk_core.api.host import Host
from mlxk_core.api.models import Model, Resolver
from mlxk_testing.tiny_models import random_model

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.structured.schemas import Schemas

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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=0, help="how many requests with 50 schemas to send as well")
    arguments = parser.parse_args()
    host = Host.discover()
    with tempfile.TemporaryDirectory() as folder, GenerationService(host, concurrency=arguments.streams) as service:
        model = _model(arguments.model, Path(folder), host)
        _ratio(service, model, arguments)
        if arguments.requests:
            _many(service, model, arguments.requests)


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
    _speed(service, model, arguments.streams, 8, constraint)  # loads the model, compiles the grammar
    free, kept = [], []
    for _ in range(arguments.rounds):
        free.append(_speed(service, model, arguments.streams, arguments.tokens, None))
        kept.append(_speed(service, model, arguments.streams, arguments.tokens, constraint))
    best_free, best_kept = max(free), max(kept)
    print(f"{arguments.streams} free streams         {best_free:8.1f} tokens/s")
    print(f"{arguments.streams} constrained streams  {best_kept:8.1f} tokens/s  ratio {best_kept / best_free:.2f}")
    first = {name: _first(service, model, each) for name, each in (("free", None), ("constrained", constraint))}
    print(f"first token: {first['free']:.1f} ms free, {first['constrained']:.1f} ms constrained (grammar cached)")


def _speed(service: GenerationService, model: Model, streams: int, tokens: int, constraint: Constraint | None) -> float:
    begin = time.perf_counter()
    requests = [_request(model, seed, tokens, constraint) for seed in range(streams)]
    written = sum(generation.result().usage.completion_tokens for generation in service.submit_all(requests))
    return written / (time.perf_counter() - begin)


def _first(service: GenerationService, model: Model, constraint: Constraint | None) -> float:
    times = []
    for seed in range(9):
        begin = time.perf_counter()
        with service.submit(_request(model, seed, 4, constraint)) as generation:
            for event in generation:
                if isinstance(event, Progress) and event.done == event.total:
                    times.append((time.perf_counter() - begin) * 1000)
                    break
    return statistics.median(times)


def _pattern(validator: object, pattern: str, instance: object, schema: object) -> object:
    python = regex.sub(r"\\u\{([0-9A-Fa-f]+)\}", lambda code: chr(int(code[1], 16)), pattern)
    python = regex.sub(r"\(\?<(\w+)>", r"(?P<\1>", python)
    if isinstance(instance, str) and not regex.search(python, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _many(service: GenerationService, model: Model, count: int) -> None:
    schemas = [Schemas(seed).root() for seed in range(50)]
    validators = [
        jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})(schema)
        for schema in schemas
    ]
    valid = cut = 0
    for start in range(0, count, 64):
        numbers = range(start, min(count, start + 64))
        constraints = [Constraint(kind="json_schema", value=schemas[number % 50]) for number in numbers]
        requests = [_request(model, number, 300, each) for number, each in zip(numbers, constraints, strict=True)]
        for number, generation in zip(numbers, service.submit_all(requests), strict=True):
            completion = generation.result()
            if completion.finish_reason == "length":
                cut += 1
                continue
            validators[number % 50].validate(json.loads(completion.content))
            valid += 1
    print(f"{count} requests with 50 schemas: {valid} valid, {cut} cut by max_tokens, 0 invalid")


if __name__ == "__main__":
    main()
