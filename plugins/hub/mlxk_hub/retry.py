"""Retry policy for a hub: which failures to retry, how long to wait, and when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from mlxk_hub.errors import retry_after

_T = TypeVar("_T")
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_WAIT = 0.5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, and how long to wait in between.

    At most `tries` attempts, with at most `max_wait` seconds before each; `on_wait` gets a sentence about every wait.
    A server that asks for a longer wait is not retried: its error says how long.
    """

    tries: int = 4
    max_wait: float = 60.0
    on_wait: Callable[[str], None] = lambda text: None

    def call(
        self,
        function: Callable[[], _T],
        *,
        delay: Callable[[Exception, int], float | None] | None = None,
        progress: Callable[[], object] = lambda: None,
    ) -> _T:
        """Return `function()`, called again while it fails with a transient error.

        `delay(error, attempt)` returns the seconds to wait, None to give up; `delay_after` by default. The count of
        attempts starts over when `progress()` has changed.
        """
        attempt, reached = 1, progress()
        while True:
            try:
                return function()
            except Exception as error:
                if (now := progress()) != reached:
                    attempt, reached = 1, now
                wait = (delay or delay_after)(error, attempt)
                if attempt >= self.tries or wait is None or wait > self.max_wait:
                    raise
                self.on_wait(f"{_description(error)} Retrying in {max(wait, 1):.0f} s.")
                time.sleep(wait)
                attempt += 1


def delay_after(error: Exception, attempt: int) -> float | None:
    """Return the seconds to wait after the `attempt`-th failure; None if a retry is pointless."""
    backoff = _FIRST_WAIT * 2 ** (attempt - 1)
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code not in _TRANSIENT:
            return None
        requested = retry_after(error)
        return backoff if requested is None else requested
    if isinstance(error, (httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return None
    if isinstance(error, httpx2.TimeoutException):
        return backoff if attempt < 2 else None  # it has taken long already
    return backoff if isinstance(error, httpx2.TransportError) and attempt < 3 else None


def _description(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return "Rate-limited by the hub." if status == 429 else f"The hub responded with {status}."
    if isinstance(error, httpx2.TimeoutException):
        return "The hub did not respond in time."
    if isinstance(error, (httpx2.ConnectError, httpx2.ProxyError)):
        return "Cannot connect to the hub."
    return "Connection lost." if isinstance(error, httpx2.TransportError) else f"{str(error).rstrip('.')}."
