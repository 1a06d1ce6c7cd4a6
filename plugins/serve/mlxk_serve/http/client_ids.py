"""Who sent a request: by API key where there are keys, else by address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mlxk_core.api.server import Client


class ClientIds:
    """Identifies the clients of a server with `keys`. Safe to use from any thread."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = frozenset(keys)

    def of(self, authorization: str | None, api_key: str | None, address: str | None) -> Client:
        """Return the client that sent these headers (`Authorization`, `X-Api-Key`) from `address`."""
        key = _offered(authorization, api_key) if self._keys else None
        if key is None or key not in self._keys:
            return Client(key=None, address=address or "local")
        digest = hashlib.blake2s(key.encode("utf-8", "replace"), digest_size=8).hexdigest()
        return Client(key=digest, address=address or "local")


def _offered(authorization: str | None, api_key: str | None) -> str | None:
    """Return the API key of a request, valid or not."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else (api_key or "").strip() or None
