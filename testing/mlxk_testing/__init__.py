"""Test kit for plugins: pytest fixtures without configuration, and the contracts of formats and engines as checks.

Fixtures: `host`, `cli`, `mlxk`, `hub_cache`, `server`. Checks: `assert_light`, `assert_format`, `check_engine`. Modules
to import: `tiny_models`, `fake_engine`, `fake_format`, `splits`, `engine_contract`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlxk_testing.cache import hub_cache
from mlxk_testing.fixtures import cli, host, run_in_process
from mlxk_testing.format_contract import assert_format
from mlxk_testing.imports import HEAVY, assert_light, modules_after
from mlxk_testing.processes import Processes, Result, mlxk
from mlxk_testing.servers import Response, RunningServer, install_entry_points, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlxk_core.api.backends import Engine, EngineContext
    from mlxk_core.api.hooks import BackendSpec
    from mlxk_core.api.models import Model

__all__ = [
    "HEAVY",
    "Processes",
    "Response",
    "Result",
    "RunningServer",
    "assert_format",
    "assert_light",
    "check_engine",
    "cli",
    "host",
    "hub_cache",
    "install_entry_points",
    "mlxk",
    "modules_after",
    "run_in_process",
    "server",
]


def check_engine(
    backend: BackendSpec | Callable[[Model, EngineContext], Engine],
    model: Model,
    *,
    skip: Iterable[Callable[[Engine], None]] = (),
) -> None:
    """Assert that a backend's engine does what the backend claims; see `mlxk_testing.engine_contract.check_engine`."""
    from mlxk_testing.engine_contract import check_engine as check

    check(backend, model, skip=skip)
