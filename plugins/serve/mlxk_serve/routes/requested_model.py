"""The model that a request is for."""

from __future__ import annotations

import falcon

from mlxk_core.api.models import Model
from mlxk_protocol.decode import required
from mlxk_serve.catalog import Catalog


def requested_model(catalog: Catalog, req: falcon.Request, name: str | None) -> tuple[str, Model]:
    """Return the model called `name`, or the default one, with its name; the access log gets the name, too.

    Raises `ModelNotFound`, and `InvalidOption` if there is no default.
    """
    found = name or catalog.default()
    if found is None:
        raise required("model")
    model = catalog.get(found)
    req.context.record.model = found
    return found, model
