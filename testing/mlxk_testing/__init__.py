"""Test kit for plugins: installed, it gives pytest the fixtures `host`, `cli`, `mlxk` and `hub_cache`.

`assert_light` checks imports. Everything else is a module, imported where it is used: `tiny_models`, `fake_engine`,
`splits`, `engine_contract`.
"""

from mlxk_testing.cache import hub_cache
from mlxk_testing.fixtures import cli, host, run_in_process
from mlxk_testing.imports import HEAVY, assert_light, modules_after
from mlxk_testing.processes import Processes, Result, mlxk

__all__ = [
    "HEAVY",
    "Processes",
    "Result",
    "assert_light",
    "cli",
    "host",
    "hub_cache",
    "mlxk",
    "modules_after",
    "run_in_process",
]
