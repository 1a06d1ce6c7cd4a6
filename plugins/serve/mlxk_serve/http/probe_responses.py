"""Responses to probes, kept for a moment: in a flood of probes most are the same, and those of a supervisor always."""

from __future__ import annotations

import time

_FRESH = 0.1
"""Seconds for which a response is given again."""
_MOST, _MOST_NEW = 64, 256


class ProbeResponses:
    """Probes that came more than once, the same to the byte, and the last responses to them. Used by the loop's thread
    only."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, bytes | None]] = {}
        self._new: dict[bytes, None] = {}
        """Probes that came once."""

    def __contains__(self, request: bytes) -> bool:
        return request in self._kept

    def keep(self, request: bytes, response: bytes | None) -> None:
        """Keep a request, and the response after which its connection was closed, if it was."""
        if request in self._kept or request in self._new:
            self._new.pop(request, None)
            self._kept.pop(request, None)
            self._kept[request] = time.monotonic(), response
            if len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]
        else:
            self._new[request] = None
            if len(self._new) > _MOST_NEW:
                del self._new[next(iter(self._new))]

    def of(self, request: bytes) -> bytes | None:
        """Return the response to the same request a moment ago."""
        since, response = self._kept.get(request, (float("-inf"), None))
        return response if time.monotonic() - since < _FRESH else None
