"""Numbers that engines return, checked."""

from __future__ import annotations

import operator
from typing import Any

_MOST = 1 << 60  # bytes


def byte_count(value: Any) -> int:
    """Return a number of bytes that an engine returned, of any integer type, within 0 and 2**60. Raises `TypeError`."""
    return min(max(0, operator.index(value)), _MOST)
