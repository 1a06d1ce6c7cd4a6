"""huggingface_hub's session for a download, whose responses name no file outside of the cache."""

from __future__ import annotations

import re

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

from mlxk_core.api.errors import HubUnavailable

_HARMLESS = re.compile(r'(?:W/)?"?[\w.:+=-]{1,200}"?', re.ASCII)


def use_checked_session() -> None:
    """Let huggingface_hub check the responses of this process."""

    def create() -> httpx2.Client:
        client: httpx2.Client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "response": [*hooks.get("response", ()), _check]}
        return client

    set_client_factory(create)


def _check(response: httpx2.Response) -> None:
    """Raise `HubUnavailable` for a header that huggingface_hub joins to the path of a folder, to write there."""
    if response.request.method != "HEAD":
        return  # a storage may send any ETag with the file
    for name in ("x-linked-etag" if "x-linked-etag" in response.headers else "etag", "x-repo-commit"):
        value = response.headers.get(name)
        if value is not None and (not _HARMLESS.fullmatch(value) or ".." in value):
            raise HubUnavailable(f"The hub names a file by an invalid `{name}`: {value[:100]!r}.", reason="no_hub")
