"""Values of arrays that a network asks for while nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mlx.core as mx


class ValueNeeded(BaseException):
    """The network asked for the value of an array, on which depends what it does. No code of a network catches it."""


@contextmanager
def no_evaluation() -> Iterator[None]:
    """Compute single values of weights where they are asked for; raise `ValueNeeded` where arrays are evaluated, which
    may take the whole model."""
    with _replaced({(mx, "eval"): _refuse, (mx, "async_eval"): _refuse}):
        yield


@contextmanager
def made_up_indices() -> Iterator[None]:
    """Give 0, 1, 2, … for the rows of an array that is asked for as a list: its numbers choose among equal parts, which
    are experts. Equal ones would be one operation. Raise `ValueNeeded` where another value is asked for."""
    refused = [(mx, "eval"), (mx, "async_eval"), (mx.array, "item"), (mx.array, "__bool__")]
    with _replaced({**dict.fromkeys(refused, _refuse), (mx.array, "tolist"): lambda array: _ascending(array.shape)}):
        yield


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueNeeded


def _ascending(shape: tuple[int, ...]) -> Any:
    if len(shape) < 2:
        return list(range(shape[0])) if shape else 0
    return [_ascending(shape[1:]) for _ in range(shape[0])]


@contextmanager
def _replaced(functions: Mapping[tuple[Any, str], Callable[..., Any]]) -> Iterator[None]:
    originals = {(owner, name): getattr(owner, name) for owner, name in functions}
    for (owner, name), function in functions.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for (owner, name), function in originals.items():
            setattr(owner, name, function)
