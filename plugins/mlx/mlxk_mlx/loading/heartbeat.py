"""What mlx-lm does while it builds a network and names its weights: signs of life, since it takes one call and seconds
for many layers or tensors, and a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_INTERVAL = 0.05  # seconds
_MOST_MODULES = 1 << 14
"""Of a network, 100 MB of objects without any weights. The largest published ones have some thousands. Besides numbers,
the lists and texts of a config say how many layers there are."""


@contextmanager
def observe(alive: Callable[[], None]) -> Iterator[None]:
    """Call `alive` now and then while modules are created; what it raises ends the construction. Raises `ValueError`
    for more modules than any network has.

    Every layer of every architecture is an `nn.Module`, and creating them is the only place in mlx-lm's loader that is
    passed again and again. For the engine thread, which alone creates modules.
    """
    import mlx.nn as nn

    original = nn.Module.__init__
    last = time.monotonic()
    inside = False
    modules = 0

    def init(module: Any) -> None:
        nonlocal last, inside, modules
        original(module)
        if inside:
            return
        modules += 1
        if modules > _MOST_MODULES:
            raise ValueError(f"it makes a network of more than {_MOST_MODULES:,} modules")
        if time.monotonic() - last < _INTERVAL:
            return
        inside = True  # another model's step, which `alive` runs, may create modules too
        try:
            alive()
        finally:
            inside = False
            last = time.monotonic()

    nn.Module.__init__ = init
    try:
        yield
    finally:
        nn.Module.__init__ = original


class WatchedWeights(dict[str, Any]):
    """Weights that call `alive` now and then while a network looks for them: some look for each tensor of each layer
    under any number."""

    def __init__(self, weights: dict[str, Any], alive: Callable[[], None]) -> None:
        super().__init__(weights)
        self._alive = alive
        self._last = time.monotonic()

    def __contains__(self, name: object) -> bool:
        if time.monotonic() - self._last >= _INTERVAL:
            self._alive()
            self._last = time.monotonic()
        return super().__contains__(name)
