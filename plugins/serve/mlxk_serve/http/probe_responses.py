"""Responses to probes, kept for a moment: in a flood of probes most are the same."""

from __future__ import annotations

import time

_FRESH = 0.1
"""Seconds for which a response is given again."""
_MOST = 64


class ProbeResponses:
    """The last responses to probes that are alike to the byte. Used by the loop's thread only."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, bytes]] = {}

    def keep(self, request: bytes, response: bytes) -> None:
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[request] = time.monotonic(), response

    def of(self, request: bytes) -> bytes | None:
        """Return the response to the same request a moment ago."""
        since, response = self._kept.get(request, (float("-inf"), None))
        return response if time.monotonic() - since < _FRESH else None
