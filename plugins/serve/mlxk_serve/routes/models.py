"""`/v1/models`: the models that a request may name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import falcon
import msgspec
from msgspec.structs import replace

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.server import Cancellation
from mlxk_serve.catalog import Catalog, ModelList, ModelObject
from mlxk_serve.http.responder import Responder


class ModelsResource:
    """`GET /v1/models`. Anthropic's clients page with `limit`, `after_id` and `before_id`."""

    def __init__(self, catalog: Catalog, responder: Responder) -> None:
        self._catalog = catalog
        self._responder = responder

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        query = _PageQuery.of(req)
        anthropic = _is_anthropic(req)

        def work(cancellation: Cancellation) -> Iterable[bytes]:
            entries = [_for_client(entry, anthropic) for entry in self._catalog.entries()]
            yield msgspec.json.encode(query.page(entries))

        # Looking at hundreds of models for the first time takes seconds, which occupy no worker.
        self._responder.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False, takes_place=False)


class ModelResource:
    """`GET /v1/models/{id}`; the id may contain slashes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def on_get(self, req: falcon.Request, resp: falcon.Response, model: str) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.data = msgspec.json.encode(
            _for_client(self._catalog.entry(model, self._catalog.get(model)), _is_anthropic(req))
        )


@dataclass(frozen=True, kw_only=True)
class _PageQuery:
    """The query of Anthropic's clients: at most `limit` models after one and before another."""

    limit: int | None
    after: str | None
    before: str | None

    @classmethod
    def of(cls, req: falcon.Request) -> _PageQuery:
        return cls(
            limit=req.get_param_as_int("limit", min_value=1, max_value=1000),
            after=req.get_param("after_id"),
            before=req.get_param("before_id"),
        )

    def page(self, entries: Sequence[ModelObject]) -> ModelList:
        """Return the page. Raises `InvalidOption` for an unknown model."""
        ids = [entry.id for entry in entries]
        limit = self.limit or max(1, len(ids))
        start = _place("after_id", self.after, ids, -1) + 1
        found = entries[start : _place("before_id", self.before, ids, len(ids))]
        page = list(found[:limit] if self.before is None else found[-limit:])
        return ModelList(
            page,
            has_more=len(found) > limit,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
        )


def _is_anthropic(req: falcon.Request) -> bool:
    return req.get_header("anthropic-version") is not None


def _for_client(entry: ModelObject, anthropic: bool) -> ModelObject:
    return replace(entry, capabilities=None) if anthropic else entry


def _place(param: str, id: str | None, ids: Sequence[str], default: int) -> int:
    if id is None:
        return default
    if id not in ids:
        raise InvalidOption(param, f"no model `{id}`")
    return ids.index(id)
