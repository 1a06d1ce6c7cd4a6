"""Plugin discovery: entry points become plugins with validated hook implementations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import pluggy

from mlxk_core import __version__
from mlxk_core._errors import InvalidOption, text_of
from mlxk_core._host.entry_points import EntryPoint, entry_points
from mlxk_core._host.hookspecs import HookSpecs
from mlxk_core._host.plugin import Plugin, PluginRecord
from mlxk_core._isolation.exits import exits_as_errors
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.isolation import Isolation
from mlxk_core._isolation.stdout import quiet_stdout

GROUP = "mlxk"


class Loader:
    """Loads the plugins of one host, in the order of their names. The only place that knows pluggy and entry points."""

    def __init__(self, isolation: Isolation) -> None:
        self.plugins: list[Plugin] = []
        self._isolation = isolation
        self._manager = pluggy.PluginManager("mlxk")
        self._manager.add_hookspecs(HookSpecs)

    def discover(self, *, disabled: Iterable[str], disabled_by_environment: Iterable[str], no_plugins: bool) -> None:
        """Load every installed plugin that is not disabled by its name or that of its distribution.

        Raises `InvalidOption` for a name in `disabled` that is not installed. A name in `disabled_by_environment` need
        not be installed; `*` there means all.
        """
        by_option = {_normal(name) for name in disabled}
        by_environment = {_normal(name) for name in disabled_by_environment}
        known: set[str] = set()
        for point in entry_points(GROUP):
            plugin = _plugin(point)
            names = {_normal(point.name), _normal(plugin.record.distribution or point.name)}
            known |= names
            reason = None
            if no_plugins:
                reason = "--no-plugins"
            elif names & by_option:
                reason = "--disable-plugin"
            elif names & by_environment or "*" in by_environment:
                reason = "MLXK_DISABLE_PLUGINS"
            if reason:
                plugin.record = replace(plugin.record, status="disabled", reason=reason)
                self.plugins.append(plugin)
            else:
                self._load(plugin, point.load)
        for name in sorted(by_option - known):
            raise InvalidOption("--disable-plugin", f"no plugin or distribution is named `{name}`")

    def add(self, implementation: object, name: str) -> None:
        """Register an object with hook implementations, for tests and embedders."""
        module = getattr(implementation, "__name__", None) or type(implementation).__module__
        packages = {str(module).partition(".")[0]}
        self._load(Plugin(PluginRecord(name=name), packages=packages), lambda: implementation)

    def _load(self, plugin: Plugin, load: Callable[[], object]) -> None:
        self.plugins.append(plugin)
        # Two plugins may share an entry-point name; pluggy needs a unique one.
        key = f"{len(self.plugins)}-{plugin.record.name}"
        implementation = None
        try:
            with quiet_stdout(), exits_as_errors():
                implementation = load()
            self._manager.register(implementation, name=key)
            plugin.hooks = self._hooks_of(implementation)
            functions = (impl.function for impls in plugin.hooks.values() for impl in impls)
            plugin.packages |= {function.__module__.partition(".")[0] for function in functions}
        except KeyboardInterrupt:  # the user's: see `exits_as_errors`
            raise
        except BaseException as error:
            # pluggy keeps a plugin that does not validate, with the hooks it has scanned so far.
            if self._manager.get_plugin(key) is not None:
                self._manager.unregister(name=key)
            source = _hook_in(implementation, error)
            self._isolation.fail(plugin, Finding.of_error("", error, plugin.packages, source), error)

    def _hooks_of(self, implementation: object) -> dict[str, list[pluggy.HookImpl]]:
        hooks: dict[str, list[pluggy.HookImpl]] = {}
        for caller in self._manager.get_hookcallers(implementation) or ():
            own = [impl for impl in caller.get_hookimpls() if impl.plugin is implementation]
            if caller.spec is None and not all(impl.optionalhook for impl in own):
                raise TypeError(f"it implements the hook {caller.name}, which mlxk-core {__version__} does not have")
            if any(impl.hookwrapper or impl.wrapper for impl in own):
                raise TypeError(f"its {caller.name} is a hook wrapper; hooks of mlxk cannot be wrapped")
            hooks[caller.name] = own
        for name in vars(HookSpecs):
            if name.startswith("mlxk_") and name not in hooks and callable(getattr(implementation, name, None)):
                raise TypeError(f"its {name} lacks the @hookimpl marker")
        return hooks


def _hook_in(implementation: object, error: BaseException) -> object:
    """Return the hook implementation that a validation error is about, else the whole implementation."""
    named = re.search(r"\bmlxk_\w+", text_of(error))
    return getattr(implementation, named[0], implementation) if named else implementation


def _plugin(point: EntryPoint) -> Plugin:
    record = PluginRecord(name=point.name, distribution=point.distribution, version=point.version)
    return Plugin(record, point.requirements, packages={point.module.partition(".")[0]}, module=point.module)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
