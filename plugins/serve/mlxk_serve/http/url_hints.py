"""Unknown URLs: the served one that a client may mean."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

_PREFIXES = ("", "/v1", "/api")
_ALIKE = 0.8
_SHORTEST_PART = 4
_LONGEST = 256
"""Characters: the comparison is quadratic, and paths come from clients."""


def meant_url(path: str, served: Collection[str]) -> str | None:
    """Return the one of the `served` paths that `path` may mean: with another prefix, or misspelled."""
    parts = [part for part in path.casefold().split("/") if part]
    if not parts or len(path) > _LONGEST:
        return None
    plain = "/" + "/".join(parts)
    if len(parts) > 1 and len(parts[-1]) >= _SHORTEST_PART:
        for known in served:
            if known.startswith(plain):
                return known
    prefixes = _PREFIXES[:2] if parts[0] == "v1" else _PREFIXES
    for start in range(len(parts)):
        for prefix in prefixes:
            candidate = "/".join([prefix, *parts[start:]])
            if candidate in served:
                return candidate
    alike = [get_close_matches(prefix + plain, served, n=1, cutoff=_ALIKE) for prefix in prefixes]
    return next((close[0] for close in alike if close), None)


def url_hint(path: str, meant: str | None) -> str:
    """Return what to do about an unknown `path`; empty if `meant` is None."""
    if meant is None:
        return ""
    if path.startswith("/v1/v1/"):
        return " `/v1` is doubled: end the base URL before it, or leave it out of the path."
    if meant == f"/v1{path}":
        return f" Add `/v1` to the base URL: {meant}."
    return f" Did you mean {meant}?"
