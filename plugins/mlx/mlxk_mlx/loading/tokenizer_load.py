"""The load of a tokenizer, at the same time as that of the weights, which ends when the model is not loaded."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mlxk_core.api.errors import Interrupted
from mlxk_mlx.engine.tokenizer import LoadedTokenizer
from mlxk_mlx.loading.background_call import BackgroundCall

_one_at_a_time = threading.Lock()
"""So that tokenizers of loads that were given up do not pile up. Besides, transformers' lazy modules fail when two
threads import them at once."""


class TokenizerLoad:
    """A load of a tokenizer in a thread of its own, as a context manager for the load of a model. It begins at once.

    If the block raises, the tokenizer ends, with its process, loaded or not. `load` gets a function to call now and
    then, which raises `Interrupted` in that case. One load runs at a time; the next one waits.
    """

    def __init__(self, load: Callable[[Callable[[], None]], LoadedTokenizer]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._given_up = False
        self._loaded: LoadedTokenizer | None = None
        self._call = BackgroundCall(self._run)

    def __enter__(self) -> TokenizerLoad:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        with self._lock:
            self._given_up = True
            loaded = self._loaded
        if loaded is not None:
            loaded.close()

    def result(self, alive: Callable[[], None]) -> LoadedTokenizer:
        """Return the tokenizer or raise the error of `load`, with a call of `alive` now and then while it is not
        there."""
        loaded: LoadedTokenizer = self._call.result(alive)
        return loaded

    def _run(self) -> LoadedTokenizer:
        with _one_at_a_time:
            self._check()
            loaded = self._load(self._check)
        with self._lock:
            self._loaded = loaded
            if not self._given_up:
                return loaded
        loaded.close()
        raise _interrupted()

    def _check(self) -> None:
        if self._given_up:
            raise _interrupted()


def _interrupted() -> Interrupted:
    return Interrupted("The load of the tokenizer was interrupted: its model is not loaded.")
