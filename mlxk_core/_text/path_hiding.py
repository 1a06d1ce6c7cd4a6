"""Absolute paths in messages for clients of a server, which must not learn where files are."""

from __future__ import annotations

import re

# An absolute path, but not the `/v1/…` of the server's own routes.
_PATH = re.compile(r"(?<![\w.~/])~?/(?!v1/|api/|/)[^\s'\"`,;:)]+")


def without_paths(text: str) -> str:
    """Return `text` with every absolute path replaced."""
    return _PATH.sub("(a file)", text)
