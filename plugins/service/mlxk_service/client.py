"""Requests to the local API of a running server."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from mlxk_core.api.errors import AccessDenied, Kind, MlxkError

DEFAULT_URL = "http://127.0.0.1:8000"
_TIMEOUT = 5  # seconds


class ServerUnavailable(MlxkError):
    """No server answers at that address."""

    kind = Kind("server_unavailable", 1, 503)


def get_json(url: str, path: str) -> Any:
    """Return the JSON document at `path` of the server at `url`. The key comes from MLXK_API_KEY.

    Raises `ServerUnavailable` or `AccessDenied`.
    """
    if not url.startswith(("http://", "https://")):
        url = f"http://{url}"
    key = os.environ.get("MLXK_API_KEY")
    request = urllib.request.Request(
        url.rstrip("/").removesuffix("/v1") + path, headers={"Authorization": f"Bearer {key}"} if key else {}
    )
    try:
        with _opener.open(request, timeout=_TIMEOUT) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise AccessDenied(f"The server at {url} requires an API key. Set MLXK_API_KEY.", url=url) from error
        raise ServerUnavailable(f"{url} is not an mlxk server: it answered {error.code} to {path}.", url=url) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        raise ServerUnavailable(
            f"No server at {url}: {reason}. Start one with `mlxk serve`, or use --url for another address.",
            url=url,
        ) from error


# A server on this machine is never reached through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
