"""RetryPolicy with a hub: which failures are worth asking again for, how long to wait, and when to give up."""

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
    """`tries` in all, and at most `longest` seconds before one of them; `waiting` is told about every wait.

    A server that asks for a longer wait than that is not waited for: its refusal says how long it would take.
    """

    tries: int = 4
    longest: float = 60.0
    waiting: Callable[[str], None] = lambda text: None

    def ask(self, call: Callable[[], _T]) -> _T:
        """`call()`, again while it fails with something that may pass."""
        for attempt in range(1, self.tries):
            try:
                return call()
            except (HfHubHTTPError, httpx2.TransportError) as error:
                wait = pause_after(error, attempt)
                if wait is None or wait > self.longest:
                    raise
                self.waiting(f"{_what(error)} Asking again in {max(wait, 1):.0f} s.")
                time.sleep(wait)
        return call()


def pause_after(error: Exception, attempt: int) -> float | None:
    """The seconds to wait after the `attempt`-th failure; None if asking again is no use."""
    backoff = _FIRST_WAIT * 2 ** (attempt - 1)
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code not in _TRANSIENT:
            return None
        asked = retry_after(error)
        return backoff if asked is None else asked
    if isinstance(error, (httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return None
    if isinstance(error, httpx2.TimeoutException):
        return backoff if attempt < 2 else None  # it has waited long already
    return backoff if isinstance(error, httpx2.TransportError) and attempt < 3 else None


def _what(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"The hub answered {error.response.status_code}."
    if isinstance(error, httpx2.TimeoutException):
        return "The hub did not answer in time."
    return "The hub cannot be reached."
