"""Requests without a prompt: they load a model, or unload it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import falcon
import msgspec

from mlxk_core.api.models import Model
from mlxk_core.api.server import NDJSON, Cancellation, ServerContext
from mlxk_ollama.encoders import timestamp
from mlxk_ollama.requests import Common
from mlxk_protocol.keep_alive import keep_alive_seconds


def load_or_unload(
    server: ServerContext,
    req: falcon.Request,
    resp: falcon.Response,
    request: Common,
    model: Model,
    part: dict[str, Any],
) -> None:
    """Load `model`, or unload it if `keep_alive` is 0, and respond with `part` as the message.

    A model that is in use is unloaded when its last request ends.
    """
    ttl = keep_alive_seconds(request.keep_alive)

    def work(cancellation: Cancellation) -> Iterable[bytes]:
        service = server.service
        if ttl == 0:
            if service.is_loaded(model) and not service.unload(model):
                service.preload(model, ttl=0)
            reason = "unload"
        else:
            service.preload(model, waiting=cancellation.check, ttl=ttl)
            reason = "load"
        document = {"model": request.model, "created_at": timestamp(), **part, "done_reason": reason, "done": True}
        yield msgspec.json.encode(document) + (b"\n" if request.stream else b"")

    server.run(req, resp, work, content_type=NDJSON if request.stream else falcon.MEDIA_JSON, stream=False)
