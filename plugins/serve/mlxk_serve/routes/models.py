"""`/v1/models`: the models that a request may name."""

from __future__ import annotations

from collections.abc import Sequence

import falcon
import msgspec
from msgspec.structs import replace

from mlxk_core.api.errors import InvalidOption
from mlxk_serve.catalog import Catalog, ModelList, ModelObject


class ModelsResource:
    """`GET /v1/models`. Anthropic's clients page with `limit`, `after_id` and `before_id`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        page = _page(req, [_for_client(req, entry) for entry in self._catalog.entries()])
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(page)


class ModelResource:
    """`GET /v1/models/{id}`; the id may contain slashes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def on_get(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(_for_client(req, self._catalog.entry(model, self._catalog.get(model))))


def _for_client(req: falcon.Request, entry: ModelObject) -> ModelObject:
    return entry if req.get_header("anthropic-version") is None else replace(entry, capabilities=None)


def _page(req: falcon.Request, entries: Sequence[ModelObject]) -> ModelList:
    ids = [entry.id for entry in entries]
    limit = req.get_param_as_int("limit", min_value=1, max_value=1000) or max(1, len(ids))
    start, end = _place(req, "after_id", ids, -1) + 1, _place(req, "before_id", ids, len(ids))
    found = entries[start:end]
    backwards = req.get_param("before_id") is not None
    page = list(found[-limit:] if backwards else found[:limit])
    return ModelList(
        page,
        has_more=len(found) > limit,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


def _place(req: falcon.Request, param: str, ids: Sequence[str], default: int) -> int:
    id = req.get_param(param)
    if id is None:
        return default
    if id not in ids:
        raise InvalidOption(param, f"no model `{id}`")
    return ids.index(id)
