"""Addresses of servers: whether one is on this machine, and how to reach it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from urllib.request import OpenerDirector


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or a numeric address without brackets, always means this machine.

    Names are not looked up: only `localhost` is one of this machine.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_opener(url: str) -> OpenerDirector:
    """Return what opens `url`, an address that begins with `http://` or `https://`.

    A server on this machine is reached directly, any other one through the proxy that the environment names.
    Raises `ValueError` if `url` cannot be parsed.
    """
    from urllib.request import ProxyHandler, build_opener  # imports http and email

    direct = [ProxyHandler({})] if is_loopback(urlsplit(url).hostname or "") else []
    return build_opener(*direct)
