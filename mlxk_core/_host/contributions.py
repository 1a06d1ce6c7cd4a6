"""Contributions of one kind by name: a name that several plugins claim belongs to none of them, the others stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from mlxk_core._errors import PluginConflict
from mlxk_core._host.loader import Plugin


class Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)


class Registry(Generic[S]):
    """What plugins offer of one `kind`. `reserved` names are mlxk's own: a claim to one is in vain."""

    def __init__(
        self,
        kind: str,
        claims: Iterable[tuple[Plugin, S]],
        *,
        aliases: Callable[[S], Iterable[str]] = lambda spec: (),
        reserved: Iterable[str] = (),
    ) -> None:
        self.kind = kind
        self._reserved = frozenset(reserved)
        self._claims: dict[str, list[tuple[Plugin, S]]] = {}
        for plugin, spec in claims:
            for name in dict.fromkeys((spec.name, *aliases(spec))):
                self._claims.setdefault(name, []).append((plugin, spec))

    @property
    def contested(self) -> Mapping[str, PluginConflict]:
        """The names that several claim, sorted, each with the error that says so."""
        return {
            name: self._conflict(name)
            for name in sorted(self._claims)
            if len(self._claims[name]) > 1 and name not in self._reserved
        }

    def entries(self) -> list[tuple[Plugin, S]]:
        """Everything that can be had by its own name, sorted by it."""
        free = ((name, claims[0]) for name, claims in sorted(self._claims.items()) if self._is_free(name))
        return [(plugin, spec) for name, (plugin, spec) in free if spec.name == name]

    def get(self, name: str) -> tuple[Plugin, S] | None:
        """What `name`, possibly an alias, means. Raises `PluginConflict` when several claim it."""
        if name not in self._claims or name in self._reserved:
            return None
        if len(self._claims[name]) > 1:
            raise self._conflict(name)
        return self._claims[name][0]

    def names_lost_by(self, plugin: Plugin) -> list[str]:
        """A sentence for each name that `plugin` claims in vain."""
        lost = []
        for name, claims in sorted(self._claims.items()):
            if not any(owner is plugin for owner, _ in claims):
                continue
            if name in self._reserved:
                lost.append(f"The {self.kind} `{name}` is mlxk's own and cannot be claimed.")
            elif len(claims) > 1:
                lost.append(str(self._conflict(name)))
        return lost

    def _is_free(self, name: str) -> bool:
        return len(self._claims[name]) == 1 and name not in self._reserved

    def _conflict(self, name: str) -> PluginConflict:
        owners = list(dict.fromkeys(plugin for plugin, _ in self._claims[name]))
        labels = ", ".join(plugin.label for plugin in owners)
        details = {"name": name, "plugins": [plugin.record.name for plugin in owners]}
        if len(owners) == 1:
            return PluginConflict(f"The {self.kind} `{name}` is claimed twice by {labels}, so it is off.", **details)
        first, second = owners[0].record, owners[1].record
        # Two plugins may share their entry-point name; then only the distribution tells them apart.
        switch = first.name if first.name != second.name else first.distribution or first.name
        return PluginConflict(
            f"The {self.kind} `{name}` is claimed by several plugins: {labels}. Choose with --disable-plugin {switch}.",
            **details,
        )
