"""The command `mlxk bench`: prompt and generation speed of a model by batch size."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from mlxk_core.api.commands import Session, complete_backend, complete_model, find_or_pull, json_option
from mlxk_core.api.errors import MlxkError, UsageError
from mlxk_core.api.generation import Completion, GenerationRequest, GenerationService, Sampling, machine_memory
from mlxk_core.api.models import Model
from mlxk_core.api.paths import is_folder
from mlxk_core.api.text import human_size

_SHUTDOWN_TIMEOUT = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One batch: tokens per second of all its requests together. `first_token_seconds` is the slowest one."""

    batch: int
    prompt_tokens_per_second: float
    generation_tokens_per_second: float
    first_token_seconds: float
    memory: int
    """Bytes of the loaded model."""


@click.command("bench")
@click.argument("model", shell_complete=complete_model)
@click.option("--prompt-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Length of a prompt.")
@click.option(
    "--max-tokens", type=click.IntRange(min=2), default=64, show_default=True, help="Tokens to generate per request."
)
@click.option(
    "--batch",
    "batches",
    type=click.IntRange(min=1, max=256),
    multiple=True,
    default=(1, 2, 4),
    show_default=True,
    help="Requests at once (repeatable).",
)
@click.option("--backend", shell_complete=complete_backend, metavar="NAME", help="The backend that runs the model.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.svg",
    help="Write a bar chart of the speeds to FILE.svg; at a terminal it is also printed.",
)
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    model: str,
    prompt_tokens: int,
    max_tokens: int,
    batches: tuple[int, ...],
    backend: str | None,
    plot: Path | None,
) -> Any:
    """Measure how fast a model reads prompts and generates tokens.

    Prompts are random tokens, so that nothing comes from the prompt cache.

    \b
    Examples:
      mlxk bench smollm2
      mlxk bench smollm2 --batch 1 --batch 8 --json
      mlxk bench smollm2 --plot speed.svg
    """
    session: Session = ctx.obj
    if plot is not None and not is_folder(plot.absolute().parent):
        raise UsageError(f"--plot: {plot.absolute().parent} is not a folder.")
    found = find_or_pull(ctx, model)
    ctx.with_resource(session.output.exclusive())
    service = GenerationService(session.host, memory=machine_memory(), concurrency=max(batches))
    try:
        started = time.monotonic()
        service.preload(found, backend=backend)
        load = time.monotonic() - started
        session.output.note(f"Loaded {found.name} in {load:.1f} s.")
        with service.tokenizer(found, backend=backend) as tokenizer:
            vocabulary = tokenizer.vocab_size
        _run(service, found, 1, 8, 2, backend, vocabulary)  # kernels are compiled on the first use
        measured = []
        if not session.output.json:
            session.output.line("BATCH  PROMPT tok/s  GENERATION tok/s  FIRST TOKEN  MEMORY")
        for batch in batches:
            one = _run(service, found, batch, prompt_tokens, max_tokens, backend, vocabulary)
            measured.append(one)
            if not session.output.json:
                session.output.line(
                    f"{one.batch:>5}  {one.prompt_tokens_per_second:>12.1f}  {one.generation_tokens_per_second:>16.1f}"
                    f"  {one.first_token_seconds:>9.2f} s  {human_size(one.memory):>6}"
                )
    finally:
        service.close(_SHUTDOWN_TIMEOUT)
    if plot is not None:
        _plot(session, found.name, measured, plot)
    return {
        "model": found.name,
        "revision": found.revision,
        "prompt_tokens": prompt_tokens,
        "max_tokens": max_tokens,
        "load_seconds": round(load, 3),
        "measurements": [asdict(one) for one in measured],
    }


def _plot(session: Session, name: str, measured: Sequence[Measurement], file: Path) -> None:
    from mlxk_service.bench_chart import chart_svg, print_chart

    groups = {
        "Generation": {one.batch: one.generation_tokens_per_second for one in measured},
        "Prompt": {one.batch: one.prompt_tokens_per_second for one in measured},
    }
    if session.output.stdout_is_terminal and not session.output.json:
        print_chart(groups)
    try:
        file.write_text(chart_svg(groups, title=f"{name}: tokens per second by batch size"), encoding="utf-8")
    except OSError as error:
        raise MlxkError(f"Cannot write {file}: {error.strerror or error}.", path=str(file)) from error
    session.output.note(f"Wrote {file}.")


def _run(
    service: GenerationService,
    model: Model,
    batch: int,
    prompt_tokens: int,
    max_tokens: int,
    backend: str | None,
    vocabulary: int,
) -> Measurement:
    # Low ids are ordinary tokens in every vocabulary; special ones are mostly at its ends.
    low, high = (1000, 2000) if vocabulary > 4000 else (0, max(1, vocabulary // 2))
    source = random.Random(f"{batch} {prompt_tokens}")
    requests = [
        GenerationRequest(
            model=model,
            prompt=[source.randrange(low, high) for _ in range(prompt_tokens)],
            sampling=Sampling(temperature=1.0, seed=number),
            max_tokens=max_tokens,
            ignore_eos=True,
            backend=backend,
        )
        for number in range(batch)
    ]
    results: list[Completion | MlxkError] = []
    started = time.monotonic()
    threads = [
        threading.Thread(target=lambda generation=generation: results.append(_result(generation)))
        for generation in service.submit_all(requests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, MlxkError):
            raise result
    done = [result for result in results if isinstance(result, Completion)]
    first = max(each.timings.queue + each.timings.prompt for each in done)
    took = max(time.monotonic() - started - first, 1e-9)
    # The first token of each row comes out of its prompt.
    generated = sum(max(0, each.usage.completion_tokens - 1) for each in done)
    return Measurement(
        batch=batch,
        prompt_tokens_per_second=round(batch * prompt_tokens / max(first, 1e-9), 1),
        generation_tokens_per_second=round(generated / took, 1),
        first_token_seconds=round(first, 3),
        memory=sum(loaded.memory for loaded in service.status().models),
    )


def _result(generation: Any) -> Completion | MlxkError:
    try:
        completion: Completion = generation.result()
    except MlxkError as error:
        return error
    return completion
