"""The server an agent uses: one that runs already, or one started for it and ended with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlxk_core.api.errors import InvalidOption, MlxkError
from mlxk_core.api.network import read_json, url_opener
from mlxk_launch.processes import running

DEFAULT_URL = "http://127.0.0.1:8000"
_CONNECT_SECONDS = 2.0


class ServerUnavailable(MlxkError):
    """The server that was named cannot be used, or the one for the agent did not start."""


@dataclass(frozen=True)
class ServedModel:
    """A model of a running server. `context` in tokens, None if the server does not say."""

    name: str
    context: int | None
    loaded: bool


def server_url(address: str) -> str:
    """Return the URL of the server at `address`, which may lack `http://`. Raises `InvalidOption`."""
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InvalidOption("--server", f"`{address}` is not a web address.")
    return url.rstrip("/").removesuffix("/v1")


def running_models(url: str, key: str | None) -> list[ServedModel] | None:
    """Return the models of the mlxk server at `url`, or None if none answers.

    Raises `ServerUnavailable` if it needs another key, or if `key` cannot be sent.
    """
    if key and not (key.isascii() and key.isprintable()):
        raise ServerUnavailable("MLXK_API_KEY contains invalid characters; no request was sent.")
    try:
        request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"} if key else {})
        with url_opener(url).open(request, timeout=_CONNECT_SECONDS) as response:
            document = read_json(response, _CONNECT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise ServerUnavailable(f"The server at {url} needs an API key. Set MLXK_API_KEY.") from None
        return None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        return None
    return [model for entry in document["data"] if (model := _served(entry))]


def _served(entry: Any) -> ServedModel | None:
    """Return the model of an entry of the list, None if it is not one: anything may answer at the address."""
    if not isinstance(entry, dict):
        return None
    name, context = entry.get("id"), entry.get("context_length")
    if not (isinstance(name, str) and name.isprintable() and isinstance(context, int | None)):
        return None
    return ServedModel(name, context, bool(entry.get("loaded")))


@contextlib.contextmanager
def start_server(model: str) -> Iterator[str]:
    """Start `mlxk serve` on a free port, and end it afterwards. Yields its URL. Raises `ServerUnavailable`."""
    # -P: a file in the working folder, which is often a project, must not shadow a library.
    command = [sys.executable, "-P", "-m", "mlxk_launch.agent_server", "serve"]
    command += ["--port", "0", "--json", "--log-level", "warning", "--model", model]
    with (
        tempfile.TemporaryFile("w+") as log,
        running(
            command,
            stdin=subprocess.PIPE,  # which the server reads until we have ended
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is the agent's
        ) as process,
    ):
        yield _url_of(process, log)


def _url_of(process: subprocess.Popen[str], log: Any) -> str:
    """Read the document that `mlxk serve --json` prints when it listens, or its error."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line.rstrip() == "}":
            break
    try:
        document = json.loads(text)
    except ValueError:
        log.seek(0)
        lines = log.read().strip().splitlines()
        raise ServerUnavailable(f"The server did not start: {lines[-1] if lines else 'no output'}") from None
    if document["status"] != "success":
        raise ServerUnavailable(f"The server did not start: {document['error']['message']}")
    url: str = document["data"]["base_url"]
    return url.removesuffix("/v1")
