"""Embedding and ranking work, computed in parts so that running generations continue in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from mlxk_core._errors import Interrupted
from mlxk_core._generation.engine import Engine, InputMemoryEngine
from mlxk_core._generation.engine_values import byte_count
from mlxk_core._generation.service import GenerationService
from mlxk_core._generation.tokenizer import Tokenizer
from mlxk_core._generation.tokenizing import find_excess
from mlxk_core._models.model import Model

_T = TypeVar("_T")
_MARGIN = 16  # tokens: a beginning must be too long also where lower case has fewer
MOST_TOKENS = 4_000_000
"""That a model reads for one request. A reranker reads the query once for each document."""
TOKENS_PER_BATCH = 512
"""Inputs are computed together up to this many tokens, so that generations do not wait long."""


@dataclass(frozen=True, slots=True)
class BatchWork(Generic[_T]):
    """Inputs that are computed together. `compute` yields None after each part, and the result at the end; `lengths`
    are the tokens of each input."""

    compute: Callable[[Engine], Iterator[_T | None]]
    lengths: Sequence[int]


def run_work(
    service: GenerationService,
    model: Model,
    works: Iterable[BatchWork[_T]],
    *,
    cancelled: Callable[[], bool],
    ttl: float | None,
) -> Iterator[_T]:
    """Yield the result of each of `works`.

    Raises `Interrupted` after the part in which `cancelled` becomes True, or while the model loads, and what
    `GenerationService.run_tasks` raises.
    """

    def parts() -> Iterator[Callable[[Engine], _T | None]]:
        for work in works:
            current = _Parts(work)
            while not current.done:
                yield current

    for result in service.run_tasks(model, parts(), waiting=partial(check_cancelled, cancelled), ttl=ttl):
        check_cancelled(cancelled)
        if result is not None:
            yield result


def check_cancelled(cancelled: Callable[[], bool]) -> None:
    """Raise `Interrupted` if `cancelled` returns True."""
    if cancelled():
        raise Interrupted("The request was cancelled.")


def beginning(tokenizer: Tokenizer, text: str, limit: int | None) -> str:
    """Return `text`, or a beginning of it that has over `limit` tokens."""
    excess = find_excess(tokenizer, text, limit + _MARGIN) if limit is not None else None
    return text if excess is None else text[: excess.characters]


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield indices of inputs to compute together: of similar lengths, since padding is computed too."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class _Parts(Generic[_T]):
    """One work as a callable (`Work`): each call, on the engine thread, computes the next part."""

    def __init__(self, work: BatchWork[_T]) -> None:
        self._work = work
        self._iterator: Iterator[_T | None] | None = None
        self.begun = self.done = False

    def memory(self, engine: Engine, /) -> int:
        return byte_count(engine.input_bytes(self._work.lengths)) if isinstance(engine, InputMemoryEngine) else 0

    def __call__(self, engine: Engine, /) -> _T | None:
        self.begun = True
        if self._iterator is None:
            self._iterator = self._work.compute(engine)
        result = next(self._iterator)
        if result is not None:
            self.done, self._iterator = True, None
        return result
