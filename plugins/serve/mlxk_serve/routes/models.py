"""`/v1/models`: what a request may name."""

from __future__ import annotations

import falcon
import msgspec

from mlxk_serve.context import Parts


class Models:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode({"object": "list", "data": self._parts.catalog.entries()})


class OneModel:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_get(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        catalog = self._parts.catalog
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(catalog.entry(model, catalog.get(model)))
