"""Servers: whether an address is on this machine, how to reach it, and what it answers."""

from __future__ import annotations

import ipaddress
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlxk_core._models.bounded_json import parse_json

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

_LARGEST_ANSWER = 16 << 20
_CHUNK = 1 << 16


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


def read_json(response: Any, seconds: float) -> Any:
    """Return the JSON value that `response`, of an opener or an `HTTPError`, has as its body.

    Raises `ValueError` if it is not JSON or is longer than 16 MiB, `TimeoutError` if it takes more than `seconds`, and
    what reading raises.
    """
    end = time.monotonic() + seconds
    body = bytearray()
    while piece := response.read1(_CHUNK):
        body += piece
        if len(body) > _LARGEST_ANSWER:
            raise ValueError(f"the answer is longer than {_LARGEST_ANSWER:,} bytes")
        if time.monotonic() > end:
            raise TimeoutError(f"the answer takes more than {seconds:g} s")
    return parse_json(bytes(body))
