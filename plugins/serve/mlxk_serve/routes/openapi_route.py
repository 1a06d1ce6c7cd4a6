"""`/openapi.json`: the description of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import falcon
import msgspec

from mlxk_core.api.server import Operation
from mlxk_serve.openai.openapi import document


class OpenApi:
    """`GET /openapi.json`. `described` are the routes of extensions."""

    def __init__(self, described: Mapping[str, Sequence[Operation]]) -> None:
        self._described = described
        self._encoded: bytes | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        if self._encoded is None:  # 40 ms of the interpreter's lock
            self._encoded = msgspec.json.encode(document(self._described))
        resp.data = self._encoded
