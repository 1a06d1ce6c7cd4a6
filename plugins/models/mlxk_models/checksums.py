"""Comparison of a model's files with the hub's checksums."""

from __future__ import annotations

from mlxk_core.api import Model
from mlxk_hub.checksums import files_that_differ
from mlxk_hub.client import HubClient


def mismatches(model: Model) -> tuple[str, ...]:
    """Return the names of the files whose content differs from the hub's.

    Files that exist on one side only do not count: a download may leave some out. Raises the hub's errors.
    """
    assert model.revision is not None  # every model of the hub cache has one
    local = {file.name for file in model.files}
    remote = [file for file in HubClient().files(model.name, model.revision) if file.name in local]
    return tuple(file.name for file in files_that_differ(model.path, remote))
