"""For clients of servers: whether an address is on this machine, and an opener that uses proxies for others only."""

from __future__ import annotations

from mlxk_core._network import is_loopback, url_opener

__all__ = ["is_loopback", "url_opener"]
