"""The status of a running server, as far as people see it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mlxk_service.client import ServerUnavailable, get_json

_Number = Annotated[float, Meta(ge=0, le=1e18)]
_Count = Annotated[int, Meta(ge=0, le=1 << 62)]


class LoadedModel(Struct):
    """A model that the server has loaded. `memory` in bytes."""

    name: str
    variant: str | None = None
    backend: str = ""
    memory: _Count = 0
    running: _Count = 0
    idle_seconds: _Number = 0

    @property
    def full_name(self) -> str:
        return f"{self.name}:{self.variant}" if self.variant else self.name


class Status(Struct):
    """What the server is doing. `memory` is its budget for models in bytes."""

    models: list[LoadedModel]
    version: str = "?"
    uptime_seconds: _Number = 0
    draining: bool = False
    loading: str | None = None
    memory: _Count = 0
    active: _Count = 0
    waiting: _Count = 0


def get_status(url: str) -> tuple[Status, dict[str, Any]]:
    """Return the status of the server at `url`, and the whole document. Raises the errors of `get_json`."""
    document = get_json(url, "/v1/status")
    try:
        return msgspec.convert(document, Status), document
    except msgspec.ValidationError as error:
        raise ServerUnavailable(
            f"{url} is not an mlxk server: its status has another form ({error}).", url=url
        ) from None
