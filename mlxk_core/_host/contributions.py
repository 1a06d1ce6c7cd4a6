"""Contributions of one kind, with their owners: a name that several plugins claim belongs to none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from mlxk_core._errors import PluginConflict
from mlxk_core._host.plugin import Plugin


class Named(Protocol):
    """A description with a name."""

    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=Named)


class Contributions(Generic[S]):
    """The contributions of one `kind`. A `reserved` name is mlxk's own: a claim to it has no effect."""

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

    def __iter__(self) -> Iterator[tuple[Plugin, S]]:
        """Yield every contribution that can be used by its own name with its owner, sorted by name."""
        for name, claims in sorted(self._claims.items()):
            if len(claims) == 1 and name not in self._reserved and claims[0][1].name == name:
                yield claims[0]

    def specs(self) -> list[S]:
        """Return the contributions of the iteration without their owners."""
        return [spec for _, spec in self]

    @property
    def contested(self) -> Mapping[str, PluginConflict]:
        """The names that several plugins claim, sorted, each with its error."""
        several = (name for name, claims in sorted(self._claims.items()) if len(claims) > 1)
        return {name: self._conflict(name) for name in several if name not in self._reserved}

    def get(self, name: str) -> tuple[Plugin, S] | None:
        """Return the contribution with this name or alias. Raises `PluginConflict` if several plugins claim it."""
        if name not in self._claims or name in self._reserved:
            return None
        if len(self._claims[name]) > 1:
            raise self._conflict(name)
        return self._claims[name][0]

    def owner_of(self, is_meant: Callable[[S], bool]) -> Plugin | None:
        """Return the plugin of the first contribution that `is_meant`, even of a contested one."""
        claims = (claim for claims in self._claims.values() for claim in claims)
        return next((plugin for plugin, spec in claims if is_meant(spec)), None)

    def names_lost_by(self, plugin: Plugin) -> list[str]:
        """Return a sentence for each name that `plugin` claims without effect."""
        lost = []
        for name, claims in sorted(self._claims.items()):
            if not any(owner is plugin for owner, _ in claims):
                continue
            if name in self._reserved:
                lost.append(f"The {self.kind} `{name}` is mlxk's own and cannot be claimed.")
            elif len(claims) > 1:
                lost.append(str(self._conflict(name)))
        return lost

    def _conflict(self, name: str) -> PluginConflict:
        owners = list(dict.fromkeys(plugin for plugin, _ in self._claims[name]))
        labels = ", ".join(plugin.label for plugin in owners)
        details: dict[str, Any] = {"name": name, "plugins": [plugin.record.name for plugin in owners]}
        if len(owners) == 1:
            return PluginConflict(f"The {self.kind} `{name}` is claimed twice by {labels}, so it is off.", **details)
        names = [plugin.record.name for plugin in owners]
        # Plugins may share their entry-point name; then only the distribution tells them apart.
        switches = [
            name if names.count(name) == 1 else plugin.record.distribution or name
            for name, plugin in zip(names, owners, strict=True)
        ]
        details["disable"] = switches
        return PluginConflict(
            f"The {self.kind} `{name}` is claimed by several plugins: {labels}. "
            f"Turn {'one' if len(owners) == 2 else 'all but one'} off with "
            f"{' or '.join(f'--disable-plugin {switch}' for switch in switches)}, or with MLXK_DISABLE_PLUGINS.",
            **details,
        )
