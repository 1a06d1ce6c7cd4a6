"""Signs of life while mlx-lm builds a network: it takes one call, and seconds for a network of many layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_INTERVAL = 0.05  # seconds


@contextmanager
def observe(alive: Callable[[], None]) -> Iterator[None]:
    """Call `alive` now and then while modules are created; what it raises ends the construction.

    Every layer of every architecture is an `nn.Module`, and creating them is the only place in mlx-lm's loader that is
    passed again and again. For the engine thread, which alone creates modules.
    """
    import mlx.nn as nn

    original = nn.Module.__init__
    last = time.monotonic()
    inside = False

    def init(module: Any) -> None:
        nonlocal last, inside
        original(module)
        if inside or time.monotonic() - last < _INTERVAL:
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
