"""`/v1/models`: the models that a request may name."""

from __future__ import annotations

import falcon
import msgspec

from mlxk_serve.catalog import Catalog, ModelList


class ModelsResource:
    """`GET /v1/models`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(ModelList(self._catalog.entries()))


class ModelResource:
    """`GET /v1/models/{id}`; the id may contain slashes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def on_get(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(self._catalog.entry(model, self._catalog.get(model)))
