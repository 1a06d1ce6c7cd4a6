"""One plugin: its record, its hook implementations, and the mlxk-core it needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from mlxk_core import __version__
from mlxk_core._isolation.finding import Finding

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
    failure: Finding | None = None
    """Why its record says that it failed."""

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
