"""The kit for testing plugins: `pytest_plugins = ["mlxk_core.testing"]` in a `conftest.py` gives its fixtures.

`host`, `cli`, `mlxk` and `hub_cache` are fixtures; `assert_light` is a check. Everything else is a module of its own,
imported where it is used: `models` (tiny models, needs numpy), `fake_engine`, `splits`, `engine_contract`.
"""

from mlxk_core.testing.cache import hub_cache
from mlxk_core.testing.hosts import cli, host, run_in_process
from mlxk_core.testing.light import HEAVY, assert_light, modules_after
from mlxk_core.testing.processes import Processes, Result, mlxk

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
