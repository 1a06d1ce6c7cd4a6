"""Calls of one hook: the descriptions of every plugin, each of them valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from mlxk_core._errors import ModelError
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.specs import TARGET_FIELDS
from mlxk_core._host.validation import checked
from mlxk_core._isolation.isolation import Isolation

_T = TypeVar("_T")


def collect(
    plugins: Iterable[Plugin], isolation: Isolation, hook: str, of: type[_T], /, **arguments: object
) -> list[tuple[Plugin, _T]]:
    """Return the contributions of every plugin to `hook`. One that raises contributes nothing; an invalid description
    is left out and recorded as a failure of its plugin."""
    collected: list[tuple[Plugin, _T]] = []
    for plugin in plugins:
        for implementation in plugin.hooks.get(hook, ()):
            nothing: Sequence[object] = ()
            call, source = partial(_call, implementation, arguments), implementation.function
            given = isolation.guard(plugin, f"{hook}()", call, default=nothing, source=source)
            for item in given:
                valid = partial(checked, item, of)
                found = isolation.guard(plugin, f"{hook}()", valid, default=None, source=source)
                if found is not None:
                    plugin.packages |= _target_packages(found)
                    collected.append((plugin, found))
    return collected


def _call(implementation: Any, arguments: Mapping[str, object]) -> Sequence[object]:
    # Not through pluggy, whose call of all implementations ends at the first that raises.
    try:
        given = implementation.function(*(arguments[name] for name in implementation.argnames))
        return list(given) if given is not None else []
    except ModelError:  # the model is broken; the plugin has not failed
        return ()


def _target_packages(spec: object) -> set[str]:
    """Return the top-level packages of the implementations that a description names by strings."""
    named = (getattr(spec, field, None) for field in TARGET_FIELDS)
    return {target.partition(":")[0].partition(".")[0] for target in named if isinstance(target, str)}
