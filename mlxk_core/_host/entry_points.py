"""Entry points of one group, read from the metadata of the installed distributions.

Equivalent to `importlib.metadata.entry_points` for folders on `sys.path`, in a tenth of the time. That module takes
40 ms of `mlxk --help`, and is used only for paths that are not folders and import hooks that know distributions.
pathlib is avoided: it takes as long as all of this.
"""

# ruff: noqa: PTH113, PTH118, PTH122, PTH123, PTH208

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EntryPoint:
    """One line of a group, `name = module:attribute`, and its distribution."""

    name: str
    value: str
    distribution: str | None = None
    version: str | None = None
    requirements: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].strip()

    def load(self) -> Any:
        """Import the module, and return it or its attribute."""
        attributes = self.value.partition(":")[2].partition("[")[0].strip()
        return reduce(getattr, filter(None, attributes.split(".")), import_module(self.module))


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of `group`, sorted by name. Of a distribution that is installed twice, the one that
    Python imports counts: the first on `sys.path`."""
    own = all(finder is PathFinder or not hasattr(finder, "find_distributions") for finder in sys.meta_path)
    plain = own and not any(os.path.isfile(entry) for entry in sys.path)
    found = _in_folders(group) if plain else _anywhere(group)
    return sorted(found, key=lambda point: (point.name, point.value))


def _in_folders(group: str) -> Iterator[EntryPoint]:
    seen = set()
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            stem, kind = os.path.splitext(name)
            if kind not in (".dist-info", ".egg-info"):
                continue
            key = re.sub(r"[-_.]+", "-", stem.partition("-")[0]).lower()
            if key not in seen:
                seen.add(key)
                yield from _of_distribution(os.path.join(folder, name), group)


def _of_distribution(metadata: str, group: str) -> Iterator[EntryPoint]:
    text = _read(metadata, "entry_points.txt")
    lines = _section(text, group) if f"[{group}]" in text else []
    if not lines:
        return
    headers = _read(metadata, "METADATA") or _read(metadata, "PKG-INFO")
    names, versions = _header(headers, "Name"), _header(headers, "Version")
    for line in lines:
        key, _, value = line.partition("=")
        yield EntryPoint(
            name=key.strip(),
            value=value.strip(),
            distribution=names[0] if names else None,
            version=versions[0] if versions else None,
            requirements=tuple(_header(headers, "Requires-Dist")),
        )


def _anywhere(group: str) -> Iterator[EntryPoint]:
    from importlib import metadata

    for point in metadata.entry_points(group=group):
        of = point.dist
        yield EntryPoint(
            name=point.name,
            value=point.value,
            distribution=of.name if of else None,
            version=of.version if of else None,
            requirements=tuple(of.requires or ()) if of else (),
        )


def _section(text: str, group: str) -> list[str]:
    lines: list[str] = []
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith("#"):
            lines.append(line)
    return lines


def _header(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}:[ \t]*(.+?)[ \t]*$", text.partition("\n\n")[0], re.MULTILINE)


def _read(folder: str, name: str) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
