"""Plugins: found, loaded and called in such a way that one which fails harms nobody else."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy

from mlxk_core import __version__
from mlxk_core._cli.output import escape_control
from mlxk_core._errors import InvalidOption, ModelError, PluginFailure
from mlxk_core._host.hookspecs import HookSpecs

if TYPE_CHECKING:
    from importlib.metadata import Distribution

GROUP = "mlxk"
Status = Literal["loaded", "disabled", "failed"]
_T = TypeVar("_T")
_D = TypeVar("_D")


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """What is known of one plugin. `reason` says why it is disabled or failed, or that it asks for another mlxk-core;
    `conflicts` are the names it claims in vain."""

    name: str
    distribution: str | None = None
    version: str | None = None
    status: Status = "loaded"
    provides: tuple[str, ...] = ()
    reason: str | None = None
    conflicts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`run (mlxk-run 0.1.0)`"""
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name


@dataclass(eq=False)
class Plugin:
    """One plugin of one host: its record so far, and its hook implementations by hook name."""

    record: PluginRecord
    requirements: Callable[[], Iterable[str] | None] = tuple
    hooks: dict[str, list[pluggy.HookImpl]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.record.label

    def needs_other_core(self) -> str | None:
        """`needs mlxk-core<0.1 (0.2.0 is installed)`, or None. pip checks the same number, but not for `--no-deps`,
        editable installs and the packages of a Linux distribution."""
        for line in self.requirements() or ():
            if not re.match(r"mlxk[-_.]core\b", line, re.IGNORECASE):
                continue
            from packaging.requirements import InvalidRequirement, Requirement  # 20 ms that only a failure is worth

            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                return f"has a requirement that cannot be read, `{line}`"
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and not requirement.specifier.contains(__version__, prereleases=True):
                return f"needs mlxk-core{requirement.specifier} ({__version__} is installed)"
        return None


class PluginSet:
    """The plugins of one host, in the order of their names. The only place that knows pluggy and entry points."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.plugins: list[Plugin] = []
        self._manager = pluggy.PluginManager("mlxk")
        self._manager.add_hookspecs(HookSpecs)
        self._announced: list[Plugin] = []
        self._unannounced: list[Plugin] = []
        self._note: Callable[[str], None] | None = None

    def discover(self, *, disabled: Iterable[str], tolerated: Iterable[str], no_plugins: bool) -> None:
        """Loads every installed plugin. `disabled` and `tolerated` (which may name what is not there, or `*`) hold
        names of plugins and of distributions."""
        # Here and not above: importing it takes a third of the time that `mlxk --version` takes in all.
        from importlib.metadata import entry_points

        by_option, by_environment = {_normal(name) for name in disabled}, {_normal(name) for name in tolerated}
        known: set[str] = set()
        # A plugin that prints when it is imported must not spoil what a pipe reads.
        with contextlib.redirect_stdout(sys.stderr):
            for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
                distribution = point.dist
                record = PluginRecord(
                    name=point.name,
                    distribution=distribution.name if distribution else None,
                    version=distribution.version if distribution else None,
                )
                names = {_normal(point.name), _normal(record.distribution or point.name)}
                known |= names
                reason = None
                if no_plugins:
                    reason = "--no-plugins"
                elif names & by_option:
                    reason = "--disable-plugin"
                elif names & by_environment or "*" in by_environment:
                    reason = "MLXK_DISABLE_PLUGINS"
                plugin = Plugin(record, partial(_requirements, distribution))
                if reason:
                    plugin.record = replace(record, status="disabled", reason=reason)
                    self.plugins.append(plugin)
                else:
                    self._load(plugin, point.load)
        for name in sorted(by_option - known):
            raise InvalidOption("--disable-plugin", f"no plugin or distribution is called `{name}`")

    def add(self, implementation: object, name: str) -> None:
        """Registers an object that is at hand (tests, embedders)."""
        self._load(Plugin(PluginRecord(name=name)), lambda: implementation)

    def collect(self, hook: str, of: type[_T], /, **arguments: object) -> list[tuple[Plugin, _T]]:
        """What every plugin gives for `hook`. One that raises, or gives something else than `of`, gives nothing."""
        collected: list[tuple[Plugin, _T]] = []
        for plugin in self.plugins:
            for implementation in plugin.hooks.get(hook, ()):
                nothing: Sequence[_T] = ()
                given = self.guard(plugin, f"{hook}()", partial(_call, implementation, arguments, of), default=nothing)
                collected += [(plugin, item) for item in given]
        return collected

    def guard(self, plugin: Plugin, what: str, function: Callable[[], _T], /, *, default: _D) -> _T | _D:
        """`function()`, a callable that `plugin` brought; `default` when it fails."""
        try:
            return function()
        except PluginFailure:  # of something it loads; on its record already
            if self.strict:
                raise
            self._announce(plugin)
            return default
        except (Exception, SystemExit) as error:
            self.fail(plugin, f"{what} raised {describe_error(error)}", error)
            return default

    def fail(self, plugin: Plugin, reason: str, cause: BaseException | None = None) -> PluginFailure:
        """Puts a failure on record and names the plugin to the person at the terminal. In strict mode it is raised."""
        failure = self.record_failure(plugin, reason, cause)
        if self.strict:
            raise failure
        self._announce(plugin)
        return failure

    def record_failure(self, plugin: Plugin, reason: str, cause: BaseException | None = None) -> PluginFailure:
        """Puts a failure on record; gives the error to raise, for work that cannot be done without the plugin."""
        mismatch = plugin.needs_other_core()
        if mismatch:
            reason = f"{mismatch}: {reason}"
        if plugin.record.status != "failed":
            plugin.record = replace(plugin.record, status="failed", reason=reason)
        failure = PluginFailure(
            f"Plugin {plugin.label} failed: {reason}. (MLXK_DEBUG=1 shows the traceback.)",
            plugin=plugin.record.name,
            distribution=plugin.record.distribution,
            reason=reason,
        )
        failure.__cause__ = cause
        return failure

    def announce(self, note: Callable[[str], None]) -> None:
        """Names the plugins that failed so far, in one line; from now on each one as it fails."""
        self._note = note
        waiting, self._unannounced = self._unannounced, []
        if waiting:
            names = ", ".join(plugin.label for plugin in waiting)
            note(f"mlxk: skipped broken plugins: {names}. Run `mlxk plugins` for the reason.")

    def _announce(self, plugin: Plugin) -> None:
        if plugin in self._announced:
            return
        self._announced.append(plugin)
        if self._note is None:
            self._unannounced.append(plugin)
        else:
            self._note(f"mlxk: plugin {plugin.label} failed: {plugin.record.reason}")

    def _load(self, plugin: Plugin, load: Callable[[], object]) -> None:
        self.plugins.append(plugin)
        # Two plugins may share an entry-point name; pluggy wants one of its own for each.
        key = f"{len(self.plugins)}-{plugin.record.name}"
        try:
            implementation = load()
            self._manager.register(implementation, name=key)
            plugin.hooks = self._hooks_of(implementation)
        except (Exception, SystemExit) as error:
            # pluggy leaves a plugin that does not validate registered, with the hooks it had scanned so far.
            if self._manager.get_plugin(key) is not None:
                self._manager.unregister(name=key)
            self.fail(plugin, describe_error(error), error)

    def _hooks_of(self, implementation: object) -> dict[str, list[pluggy.HookImpl]]:
        hooks: dict[str, list[pluggy.HookImpl]] = {}
        for caller in self._manager.get_hookcallers(implementation) or ():
            own = [impl for impl in caller.get_hookimpls() if impl.plugin is implementation]
            if caller.spec is None and not all(impl.optionalhook for impl in own):
                raise TypeError(f"it implements the hook {caller.name}, which mlxk-core {__version__} does not have")
            if any(impl.hookwrapper or impl.wrapper for impl in own):
                raise TypeError(f"its {caller.name} is a hook wrapper; hooks of mlxk are never wrapped")
            hooks[caller.name] = own
        for name in vars(HookSpecs):
            if name.startswith("mlxk_") and name not in hooks and callable(getattr(implementation, name, None)):
                raise TypeError(f"its {name} lacks the @hookimpl marker")
        return hooks


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line, with the place for errors in the code itself."""
    text = escape_control(" ".join(str(error).split()))
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, (SyntaxError, ImportError, SystemExit, pluggy.PluginValidationError)) or not text:
        return described
    import traceback  # only a failure needs it

    frames = traceback.extract_tb(error.__traceback__)
    return f"{described} ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else described


def _call(implementation: pluggy.HookImpl, arguments: dict[str, object], of: type[_T]) -> Sequence[_T]:
    # Called here and not through pluggy, whose call of all implementations ends at the first that raises.
    try:
        given: Any = implementation.function(*(arguments[name] for name in implementation.argnames))
        items = list(given) if given is not None else []
    except ModelError:  # the model is damaged; that is not the plugin's failure
        return ()
    for item in items:
        if not isinstance(item, of):
            raise TypeError(f"it gives {type(item).__name__}, not {of.__name__}")
    return items


def _requirements(distribution: Distribution | None) -> Iterable[str] | None:
    return distribution.requires if distribution else None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
