"""Calls of plugin code, and the record of what failed in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from mlxk_core._errors import PluginFailure, SystemLimit
from mlxk_core._host.plugin import Plugin
from mlxk_core._isolation.exits import interrupts_as_errors
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.stdout import quiet_stdout

_T = TypeVar("_T")
_D = TypeVar("_D")


class Isolation:
    """Records the failures of plugins and names each failed plugin to the user once. Strict: raises them instead."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._announced: list[Plugin] = []
        self._unannounced: list[Plugin] = []
        self._note: Callable[[str], None] | None = None

    def guard(
        self, plugin: Plugin, what: str, function: Callable[[], _T], /, *, default: _D, source: object = None
    ) -> _T | _D:
        """Return `function()`, which calls code of `plugin`, or `default` after an error. What it prints goes to
        standard error. `source` is the plugin's function that is called: an error without a frame in the plugin is
        placed there. Raises `SystemLimit` from the call.
        """
        try:
            with quiet_stdout(), interrupts_as_errors():
                return function()
        except PluginFailure:  # of something it loads; on record already
            if self.strict:
                raise
            self._announce(plugin)
            return default
        except SystemLimit:  # the plugin has not failed
            raise
        except (Exception, SystemExit) as error:
            self.fail(plugin, Finding.of_error(f"{what} raised", error, plugin.packages, source), error)
            return default

    def fail(self, plugin: Plugin, finding: Finding, cause: BaseException) -> PluginFailure:
        """Record a failure and name the plugin to the user. Raises it in strict mode."""
        failure = self.record(plugin, finding, cause)
        if self.strict:
            raise failure
        self._announce(plugin)
        if os.environ.get("MLXK_DEBUG", "") not in ("", "0"):
            import traceback  # needed after a failure only

            traceback.print_exception(cause)  # to standard error
        return failure

    def record(self, plugin: Plugin, finding: Finding, cause: BaseException) -> PluginFailure:
        """Record a failure and return it, for work that cannot be done without the plugin."""
        mismatch = plugin.needs_other_core()
        reason = f"{mismatch}: {finding}" if mismatch else str(finding)
        import logging  # needed after a failure only

        logging.getLogger("mlxk.plugins").debug("plugin %s failed: %s", plugin.label, reason, exc_info=cause)
        if plugin.failure is None:
            plugin.failure = finding
            plugin.record = replace(plugin.record, status="failed", reason=reason)
        failure = PluginFailure(
            f"Plugin {plugin.label} failed: {reason}. (MLXK_DEBUG=1 shows the traceback.)",
            plugin=plugin.record.name,
            distribution=plugin.record.distribution,
            version=plugin.record.version,
            place=finding.place,
            reason=reason,
        )
        failure.__cause__ = cause
        return failure

    def announce(self, note: Callable[[str], None]) -> None:
        """Report the plugins that have failed in one line to `note`, and from now on each one when it fails."""
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
