"""A budget of the results that responses hold until they are written."""

from __future__ import annotations

import threading
from collections import Counter

from mlxk_core.api.server import ApiError

_CLIENT_SHARE, _REQUEST_SHARE = 2, 4
_RETRY_SECONDS = "5"


class ClientBudget:
    """At most `most` bytes at once, of which one client has half and one request a fourth. Results of up to `free`
    bytes do not count: they are always held. Safe to use from any thread."""

    def __init__(self, most: int, free: int) -> None:
        self._most = most
        self._free = free
        self._lock = threading.Lock()
        self._held = Counter[str]()

    def take(self, client: str, size: int) -> None:
        """Count `size` bytes of one request. Raises `ApiError`: 400 for one that never fits, 503 until others end."""
        if size <= self._free:
            return
        if size > self._most // _REQUEST_SHARE:
            raise ApiError(
                400,
                f"The results of this request have {size:,} bytes; at most {self._most // _REQUEST_SHARE:,} at once. "
                "Send fewer inputs, or ask for fewer dimensions.",
                code="too_many_results",
            )
        with self._lock:
            full = self._held.total() + size > self._most
            if full or self._held[client] + size > self._most // _CLIENT_SHARE:
                raise ApiError(
                    503,
                    "Too many large results wait to be read. Try again later, or send fewer inputs.",
                    code="too_many_results",
                    headers={"retry-after": _RETRY_SECONDS},
                )
            self._held[client] += size

    def give_back(self, client: str, size: int) -> None:
        if size <= self._free:
            return
        with self._lock:
            self._held[client] -= size
            if not self._held[client]:
                del self._held[client]
