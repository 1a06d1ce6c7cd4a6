"""One plugin: its record, and which part of a traceback belongs to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mlxk_core import __version__
from mlxk_core._cli.output import escape_control

if TYPE_CHECKING:
    from types import FrameType


Status = Literal["loaded", "disabled", "failed"]


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """The state of one plugin.

    `reason` says why it is disabled or failed, or which mlxk-core it needs. `conflicts` are the names it does not get
    because others claim them, `problems` what `mlxk plugins --check` found beyond that.
    """

    name: str
    distribution: str | None = None
    version: str | None = None
    status: Status = "loaded"
    provides: tuple[str, ...] = ()
    reason: str | None = None
    conflicts: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The plugin in messages: `run (mlxk-run 0.1.0)`."""
        return f"{self.name} ({self.distribution} {self.version})" if self.distribution else self.name


@dataclass(eq=False)
class Plugin:
    """One plugin of one host: its record so far, its hook implementations by hook name, and the top-level packages
    its code is in."""

    record: PluginRecord
    requirements: tuple[str, ...] = ()
    hooks: dict[str, list[Any]] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    module: str | None = None
    """The module of its entry point."""

    @property
    def label(self) -> str:
        return self.record.label

    def needs_other_core(self) -> str | None:
        """Return `needs mlxk-core<0.1 (0.2.0 is installed)`, or None. pip checks the same number, but not for
        `--no-deps`, editable installs and the packages of a Linux distribution."""
        for line in self.requirements:
            if not re.match(r"mlxk[-_.]core\b", line, re.IGNORECASE):
                continue
            from packaging.requirements import InvalidRequirement, Requirement  # 20 ms, needed after a failure only

            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                return f"has an invalid requirement, `{line}`"
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if applies and not requirement.specifier.contains(__version__, prereleases=True):
                return f"needs mlxk-core{requirement.specifier} ({__version__} is installed)"
        return None


def describe_error(error: BaseException, packages: Iterable[str] = (), source: object = None) -> str:
    """Return one line: type, message, and the place of the error as `error_place` finds it."""
    text = escape_control(" ".join(str(error).split()))
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = error_place(error, packages, source)
    return f"{described} ({place})" if place else described


def error_place(error: BaseException | None, packages: Iterable[str] = (), source: object = None) -> str | None:
    """Return `package/module.py:12`: the deepest frame of `error` inside `packages`.

    Without one it is where `source` is defined, the function or class whose result is wrong; else the deepest frame
    outside mlxk-core.
    """
    if isinstance(error, SyntaxError):
        return None  # its message names file and line
    if error is None:
        return definition_place(source)
    import traceback  # needed after a failure only

    own = frozenset(packages)
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_code(frame)]
    outside = [(frame, line) for frame, line in frames if _package(frame) != "mlxk_core"]
    inside = [(frame, line) for frame, line in frames if _package(frame) in own]
    if not inside and (defined := definition_place(source)):
        return defined
    for found in (inside, outside):
        if found:
            frame, line = found[-1]
            return f"{_short(frame.f_code.co_filename, _package(frame))}:{line}"
    return None


def definition_place(source: object) -> str | None:
    """Return `package/module.py:12`: where a function, method or class of Python code is defined; None for others."""
    import inspect

    while isinstance(source, partial):
        source = source.func
    try:
        source = inspect.unwrap(source) if callable(source) else source
        file = inspect.getsourcefile(source)  # type: ignore[arg-type]
        line = inspect.getsourcelines(source)[1]  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return None
    package = str(getattr(source, "__module__", None) or getattr(source, "__name__", "")).partition(".")[0]
    return f"{_short(file, package)}:{max(line, 1)}" if file else None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_code(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith("<frozen ") and _package(frame) not in ("importlib", "pluggy")


def _short(path: str, package: str) -> str:
    _, found, rest = path.replace("\\", "/").rpartition(f"/{package}/")
    return f"{package}/{rest}" if found else path.replace("\\", "/").rpartition("/")[2]
