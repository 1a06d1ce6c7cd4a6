"""For clients of servers: whether an address is on this machine, an opener that uses proxies for others only, and JSON
answers of a limited length."""

from __future__ import annotations

from mlxk_core._network import is_loopback, read_json, url_opener

__all__ = ["is_loopback", "read_json", "url_opener"]
