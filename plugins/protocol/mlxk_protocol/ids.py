"""Identifiers of responses, items and calls."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """Return a fresh identifier: `prefix_` and 32 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(16)}"
