"""`POST /api/pull`: `mlxk pull` in a process of its own, with its progress as Ollama streams it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import falcon
import msgspec
from msgspec import Struct

from mlxk_core.api.errors import Interrupted, InvalidOption
from mlxk_core.api.server import NDJSON, ApiError, Cancellation, ServerContext
from mlxk_ollama.catalog import LATEST, digest_of
from mlxk_ollama.encoders import encode_error
from mlxk_ollama.requests import PullRequest
from mlxk_protocol.decode import decode

_GRACE = 20.0
"""Seconds that an interrupted pull has to save what it downloaded."""
_STATUS = {
    "model_not_found": 404,
    "revision_not_found": 404,
    "not_on_hub": 404,
    "no_weights": 404,
    "access_denied": 403,
    "invalid_option": 400,
    "usage_error": 400,
    "hub_unavailable": 503,
}


class Progress(Struct):
    """A line of `mlxk pull --progress-json`."""

    model: str
    revision: str
    total: int
    completed: int


class _Failure(Struct):
    type: str
    message: str


class _Envelope(Struct):
    """Output of `mlxk pull --json`."""

    error: _Failure | None = None


class Pull:
    """Downloads a model from the hub, if the server was started with `--allow-pull`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), PullRequest)
        if not self._server.settings.allow_pull:
            raise ApiError(403, "pull is off. Start the server with --allow-pull, or run `mlxk pull`.")
        if request.insecure:
            raise InvalidOption("insecure", "not supported")
        name = (request.model or request.name or "").strip().removesuffix(LATEST)
        if not name:
            raise InvalidOption("model", "required")
        if not name.isprintable():
            raise InvalidOption("model", f"{name!r} is not the name of a model")
        stream = request.stream is not False
        work = partial(_stream if stream else _whole, name)
        self._server.run(req, resp, work, content_type=NDJSON if stream else falcon.MEDIA_JSON, stream=stream)


def _whole(name: str, cancellation: Cancellation) -> Iterable[bytes]:
    for _ in _pull(name, cancellation):
        pass
    yield _line({"status": "success"}).rstrip()


def _stream(name: str, cancellation: Cancellation) -> Iterable[bytes]:
    """Yield Ollama's lines. An error before the download has a status of its own, a later one a line."""
    began = False
    try:
        for progress in _pull(name, cancellation):
            if not began:
                yield _line({"status": "pulling manifest"})
            began = True
            digest = digest_of(progress.model, progress.revision)
            amounts = {"total": progress.total, "completed": progress.completed}
            yield _line({"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", **amounts})
    except ApiError as error:
        if not began:
            raise
        yield encode_error(error.info) + b"\n"
        return
    if not began:
        yield _line({"status": "pulling manifest"})
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        yield _line({"status": status})


def _pull(name: str, cancellation: Cancellation) -> Iterator[Progress]:
    """Run the pull and yield its progress.

    Raises `ApiError` if it fails, `Interrupted` once the client has disconnected.
    """
    command = [sys.executable, "-m", "mlxk_core", "pull", "--json", "--progress-json", "--", name]
    # A session of its own: a Ctrl-C at the server's terminal reaches it through the cancellation, once.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        cancellation.on_cancel(lambda: _interrupt(process))
        assert process.stdout is not None and process.stderr is not None
        stdout = process.stdout
        document: list[bytes] = []
        reader = threading.Thread(target=lambda: document.append(stdout.read()), name="mlxk-pull")
        reader.start()
        try:
            for line in process.stderr:
                with contextlib.suppress(msgspec.DecodeError):
                    yield msgspec.json.decode(line, type=Progress)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                _interrupt(process)
            process.wait()
            reader.join()
    if cancellation.cancelled:
        raise Interrupted("The client disconnected; the pull was stopped.")
    error = _error(b"".join(document), process.returncode)
    if error is not None:
        raise ApiError(_STATUS.get(error.type, 500), error.message, code=error.type)


def _error(document: bytes, code: int) -> _Failure | None:
    with contextlib.suppress(msgspec.DecodeError):
        failure = msgspec.json.decode(document, type=_Envelope).error
        if failure is not None or code == 0:
            return failure
    return _Failure("error", f"The pull failed with exit code {code}.")


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the pull as Ctrl-C does, and kill it if it does not end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    timer = threading.Timer(_GRACE, process.kill)  # which does nothing once it has ended
    timer.daemon = True
    timer.start()


def _line(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document) + b"\n"
