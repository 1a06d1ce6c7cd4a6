"""Choice of the backend that runs a model, once the model's files are checked."""

from __future__ import annotations

from collections.abc import Iterable

from mlxk_core._errors import BrokenModel, UnsupportedModel
from mlxk_core._generation.jobs import Resident
from mlxk_core._generation.request_settings import set_by
from mlxk_core._host.host import Host
from mlxk_core._host.specs import BackendSpec
from mlxk_core._models.health import Health, check_health
from mlxk_core._models.model import Model

_MOST_PROBLEMS = 8
"""Of a model, in one message: each of thousands of files may have one."""


def choose_backend(host: Host, loaded: Iterable[Resident], model: Model, name: str | None) -> BackendSpec:
    """Return the backend for `model`: the one called `name`, that of the user's settings, or the only one that fits.

    For a `loaded` model no file is read. The files of any other are checked first: a damaged model must not cause
    another one to be unloaded. Raises `UnsupportedModel`, `BrokenModel`, `InvalidOption` or `PluginConflict`.
    """
    wanted = name or model.settings.backend
    for resident in loaded:
        if resident.model == model and wanted in (None, resident.backend.name):
            return resident.backend
    try:
        with set_by("backend", setting=name is None):
            backend = host.backend_for(model, wanted)
    except UnsupportedModel as error:
        health = check_health(model)
        if health.incomplete:  # no backend can accept a model whose files are missing
            raise _broken(model, health) from error
        raise
    health = check_health(model).once_accepted
    if not health.healthy:
        raise _broken(model, health)
    return backend


def _broken(model: Model, health: Health) -> BrokenModel:
    problems = " ".join(problem.message for problem in health.problems[:_MOST_PROBLEMS])
    return BrokenModel(f"`{model.name}` is {health.state}. {problems}", model=model.name)
