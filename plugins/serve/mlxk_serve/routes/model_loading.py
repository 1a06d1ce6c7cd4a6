"""`POST /v1/models/load` and `/v1/models/unload`: keep a model in memory, or free it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Literal

import falcon
import msgspec
from msgspec import Struct

from mlxk_core.api.generation import GenerationService
from mlxk_core.api.models import Model
from mlxk_core.api.server import ApiError, Cancellation
from mlxk_protocol.decode import decode
from mlxk_serve.catalog import Catalog
from mlxk_serve.http.responder import Responder

_State = Literal["loaded", "unloaded"]


class ModelRequest(Struct, kw_only=True):
    """Names a model as `/v1/models` lists it."""

    model: str


class ModelState(Struct):
    """A model after it was loaded or unloaded."""

    model: str
    status: _State


class _ModelControl(ABC):
    """A resource that changes whether a model is loaded."""

    def __init__(self, catalog: Catalog, service: GenerationService, responder: Responder) -> None:
        self._catalog = catalog
        self._service = service
        self._responder = responder

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        name = decode(req.bounded_stream.read(), ModelRequest).model
        models = self._find(name)
        req.context.record.model = name

        def work(cancellation: Cancellation) -> Iterable[bytes]:
            yield msgspec.json.encode(ModelState(name, self._change(name, models, cancellation)))

        self._responder.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)

    @abstractmethod
    def _find(self, name: str) -> Sequence[Model]:
        """Return the models that the client calls `name`. Raises `ModelNotFound`."""

    @abstractmethod
    def _change(self, name: str, models: Sequence[Model], cancellation: Cancellation) -> _State:
        """Load or unload the models that the client calls `name`, and return their new state."""


class LoadModel(_ModelControl):
    """`POST /v1/models/load`: returns once the model is loaded."""

    def _find(self, name: str) -> Sequence[Model]:
        return [self._catalog.get(name)]

    def _change(self, name: str, models: Sequence[Model], cancellation: Cancellation) -> _State:
        for model in models:
            self._service.preload(model, waiting=cancellation.check)
        return "loaded"


class UnloadModel(_ModelControl):
    """`POST /v1/models/unload`: frees an idle model, also one that was deleted; one that is in use is an error."""

    def _find(self, name: str) -> Sequence[Model]:
        return self._catalog.loaded(name)

    def _change(self, name: str, models: Sequence[Model], cancellation: Cancellation) -> _State:
        if not self._service.unload(*models):
            raise ApiError(
                409, f"`{name}` is in use. Try again when its requests have ended.", code="model_in_use",
                param="model", headers={"retry-after": "1"},
            )  # fmt: skip
        return "unloaded"
