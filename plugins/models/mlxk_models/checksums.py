"""The files of a hub model against the hub's own checksums."""

from __future__ import annotations

from mlxk_core.api import Model
from mlxk_hub.checksums import same
from mlxk_hub.client import HubClient


def mismatches(model: Model) -> tuple[str, ...]:
    """The files whose content is not the hub's. Files that are only here, or only there, do not count: a download may
    leave some out. Raises what the hub refuses with."""
    assert model.revision is not None  # every model of the hub cache has one
    remote = {file.name: file for file in HubClient().files(model.name, model.revision)}
    here = [file.name for file in model.files if file.name in remote]
    return tuple(name for name in here if not same(model.path / name, remote[name]))
