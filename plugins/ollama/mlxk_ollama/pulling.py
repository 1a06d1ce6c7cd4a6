"""`POST /api/pull`: downloads of models, with their progress as Ollama streams it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import falcon
import msgspec

from mlxk_core.api.errors import InvalidOption, kind_of
from mlxk_core.api.server import NDJSON, ApiError, Cancellation, ErrorInfo, ServerContext
from mlxk_core.api.text import without_paths
from mlxk_ollama.catalog import LATEST, digest_of
from mlxk_ollama.encoders import encode_error
from mlxk_ollama.pull_process import PullFailed
from mlxk_ollama.requests import PullRequest
from mlxk_ollama.shared_pulls import SharedPulls
from mlxk_protocol.decode import decode

_LONGEST_NAME = 512


class Pull:
    """Downloads a model from the hub, if the server was started with `--allow-pull`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._pulls = SharedPulls(server.settings.heartbeat)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), PullRequest)
        if not self._server.settings.allow_pull:
            raise ApiError(403, "pull is off. Start the server with --allow-pull, or run `mlxk pull`.")
        if request.insecure:
            raise InvalidOption("insecure", "not supported")
        name = (request.model or request.name or "").strip().removesuffix(LATEST)
        if not name:
            raise InvalidOption("model", "required")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidOption("model", f"{name[:_LONGEST_NAME]!r} is not the name of a model")
        name = self._server.host.settings.expand(name)  # two names of one model are one download
        stream = request.stream is not False

        def work(cancellation: Cancellation) -> Iterable[bytes]:
            return self._stream(name, cancellation) if stream else self._whole(name, cancellation)

        content_type = NDJSON if stream else falcon.MEDIA_JSON
        self._server.run(
            req, resp, work, content_type=content_type, stream=stream, waits=True, stream_error=_error_line
        )

    def _whole(self, name: str, cancellation: Cancellation) -> Iterable[bytes]:
        for _ in self._pulls.follow(name, cancellation):
            pass
        yield _line({"status": "success"}).rstrip()

    def _stream(self, name: str, cancellation: Cancellation) -> Iterable[bytes]:
        """Yield Ollama's lines. An error before the download has a status of its own, a later one a line."""
        began = False
        try:
            for progress in self._pulls.follow(name, cancellation):
                if not began:
                    yield _line({"status": "pulling manifest"})
                began = True
                digest = digest_of(progress.model, progress.revision)
                amounts = {"total": progress.total, "completed": progress.completed}
                yield _line({"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", **amounts})
        except PullFailed as error:
            if not began:
                raise
            yield _error_line(ApiError(kind_of(error).http_status, without_paths(str(error))).info)
            return
        if not began:
            yield _line({"status": "pulling manifest"})
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            yield _line({"status": status})


def _error_line(error: ErrorInfo) -> bytes:
    return encode_error(error) + b"\n"


def _line(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document) + b"\n"
