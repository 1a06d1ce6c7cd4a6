"""Log messages that may come hundreds of times a second: the first at once, then one a minute with a count."""

from __future__ import annotations

import threading
import time

from mlxk_serve.observability.log import LOGGER

_INTERVAL = 60.0


class RepeatedMessage:
    """A message of one kind. Safe to use from any thread."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._lock = threading.Lock()
        self._logged = float("-inf")
        self._left_out = 0

    def log(self, message: str) -> None:
        """Log `message`, unless one of this kind was logged within a minute: then it is counted in the next one."""
        with self._lock:
            now = time.monotonic()
            if now - self._logged < _INTERVAL:
                self._left_out += 1
                return
            self._logged = now
            left_out, self._left_out = self._left_out, 0
        LOGGER.log(self._level, "%s", f"{message} ({left_out} more since the last line)" if left_out else message)
