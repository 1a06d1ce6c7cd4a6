"""A call in a thread of its own, for which the engine thread waits with signs of life."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_ALIVE_INTERVAL = 0.2  # seconds


class BackgroundCall:
    """A call that runs in a thread of its own, and to its end also if the wait for it ends."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mlxk-load")
        self._thread.start()

    def result(self, alive: Callable[[], None]) -> Any:
        """Return the result or raise the error, with a call of `alive` now and then while it is not there."""
        while self._thread.is_alive():
            self._thread.join(_ALIVE_INTERVAL)
            alive()
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
