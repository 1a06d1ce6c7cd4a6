"""Requests to the local API of a running server."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from mlxk_core.api.errors import AccessDenied, InvalidOption, Kind, MlxkError
from mlxk_core.api.network import read_json, url_opener

DEFAULT_URL = "http://127.0.0.1:8000"
_TIMEOUT = 5  # seconds


class ServerUnavailable(MlxkError):
    """No server responds at that address."""

    kind = Kind("server_unavailable", 1, 503)


class ModelInUse(MlxkError):
    """The model is in use by a request."""

    kind = Kind("model_in_use", 1, 409)


def get_json(url: str, path: str) -> dict[str, Any]:
    """Return the JSON object at `path` of the server at `url`. The key comes from MLXK_API_KEY.

    Raises `ServerUnavailable`, `AccessDenied` or `InvalidOption`.
    """
    return _request(url, path, None)


def post_json(url: str, path: str, body: Any) -> dict[str, Any]:
    """Return the response to `body`. Raises `ModelInUse` and the errors of `get_json`."""
    return _request(url, path, json.dumps(body).encode())


def _request(url: str, path: str, body: bytes | None) -> dict[str, Any]:
    scheme, separator, _ = url.partition("://")
    if not separator:
        url = f"http://{url}"
    elif scheme not in ("http", "https"):
        raise InvalidOption("--url", f"`{url}` is not a web address.")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("MLXK_API_KEY"):
        if not (key.isascii() and key.isprintable()):
            raise AccessDenied("MLXK_API_KEY contains invalid characters; no request was sent.")
        headers["Authorization"] = f"Bearer {key}"
    try:
        request = urllib.request.Request(url.rstrip("/").removesuffix("/v1") + path, data=body, headers=headers)
        with url_opener(url).open(request, timeout=_TIMEOUT) as response:
            document = _object_in(response)
    except urllib.error.HTTPError as error:
        raise _error_of(error, url, path) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        raise ServerUnavailable(
            f"No server at {url}: {reason}. Start one with `mlxk serve`, or use --url for another address.",
            url=url,
        ) from error
    if document is None:
        raise ServerUnavailable(f"{url} is not an mlxk server: its answer to {path} is not a JSON object.", url=url)
    return document


def _error_of(error: urllib.error.HTTPError, url: str, path: str) -> MlxkError:
    if error.code in (401, 403):
        return AccessDenied(f"The server at {url} requires an API key. Set MLXK_API_KEY.", url=url)
    try:
        document = _object_in(error)
    except (OSError, http.client.HTTPException):
        document = None
    reported = (document or {}).get("error")
    if not isinstance(reported, dict) or not isinstance(message := reported.get("message"), str):
        return ServerUnavailable(f"{url} is not an mlxk server: it answered {error.code} to {path}.", url=url)
    return (ModelInUse if reported.get("code") == "model_in_use" else MlxkError)(message, url=url)


def _object_in(response: Any) -> dict[str, Any] | None:
    """Return the JSON object that is the body of `response`, None for any other body."""
    try:
        document = read_json(response, _TIMEOUT)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
