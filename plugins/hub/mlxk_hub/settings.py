"""Environment variables of huggingface_hub: validation, and the names to show in messages.

huggingface_hub reads them when it is imported and fails there without naming them, so commands call `check_settings`
before they import it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.models import CACHE_VARIABLES, check_hub_cache

_TIMEOUTS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads a switch


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that requests go through: its address without credentials, and the variable that names it."""

    address: str
    variable: str


def check_settings() -> None:
    """Raise `InvalidOption` for a variable that huggingface_hub cannot use. An empty one of
    HF_ENDPOINT and the cache's variables counts as unset."""
    for name in _TIMEOUTS:
        value = os.environ.get(name, "0")
        if not value.strip().isdecimal():
            raise InvalidOption(name, f"`{value}` is not a number of seconds. Correct or unset the variable.")
    endpoint = os.environ.get("HF_ENDPOINT", "")
    if not endpoint.strip():
        os.environ.pop("HF_ENDPOINT", None)
    elif not _is_web_address(endpoint):
        raise InvalidOption(
            "HF_ENDPOINT", f"`{endpoint}` is not a web address (https://...). Correct or unset the variable."
        )
    for name in CACHE_VARIABLES:
        if not os.environ.get(name, "x"):
            del os.environ[name]
    check_hub_cache()


def offline_variable() -> str | None:
    """Return the name of the variable that switches the network off, or None."""
    # An empty HF_HUB_OFFLINE does not count, and any other value hides TRANSFORMERS_OFFLINE.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if value := os.environ.get(name):
            return name if value.upper() in _TRUE else None
    return None


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that requests to `url` go through, or None."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    for scheme in (parts.scheme, "all"):
        if address := proxies.get(scheme):
            name = f"{scheme}_proxy"
            variable = next((each for each in (name, name.upper()) if os.environ.get(each)), "the system settings")
            return Proxy(_without_credentials(address), variable.upper() if "_" in variable else variable)
    return None


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _without_credentials(address: str) -> str:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
