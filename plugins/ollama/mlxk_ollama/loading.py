"""Requests without a prompt: they load a model, or unload it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import falcon
import msgspec

from mlxk_core.api.server import NDJSON, Cancellation, ServerContext
from mlxk_ollama.catalog import find_loaded, find_model
from mlxk_ollama.encoders import timestamp
from mlxk_ollama.requests import Common
from mlxk_protocol.keep_alive import keep_alive_seconds


def load_or_unload(
    server: ServerContext,
    req: falcon.Request,
    resp: falcon.Response,
    request: Common,
    part: dict[str, Any],
) -> None:
    """Load the model of `request`, or unload it if `keep_alive` is 0, and respond with `part` as the message.

    A model that is in use is unloaded when its last request ends.
    """
    ttl = keep_alive_seconds(request.keep_alive)
    unload = ttl == 0
    models = find_loaded(server, request.model) if unload else [find_model(server, request.model)]

    def work(cancellation: Cancellation) -> Iterable[bytes]:
        service = server.service
        if unload:
            if not service.unload(*models):
                service.retire(*models)
        else:
            for model in models:
                service.preload(model, waiting=cancellation.check, ttl=ttl)
        reason = "unload" if unload else "load"
        document = {"model": request.model, "created_at": timestamp(), **part, "done_reason": reason, "done": True}
        yield msgspec.json.encode(document) + (b"\n" if request.stream else b"")

    server.run(req, resp, work, content_type=NDJSON if request.stream else falcon.MEDIA_JSON, stream=False)
