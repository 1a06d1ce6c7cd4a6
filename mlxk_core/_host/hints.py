"""Hints in error messages: which distribution provides what is missing, and what the user can choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from mlxk_core._errors import InvalidOption
from mlxk_core._host.contributions import Named
from mlxk_core._host.plugin import Plugin, PluginRecord


@cache
def known(table: str) -> Mapping[str, Any]:
    """Return a table of `known_plugins.toml`."""
    import tomllib  # with the file: 10 ms, needed for a hint only
    from importlib.resources import files

    data = tomllib.loads(files(__package__).joinpath("known_plugins.toml").read_text(encoding="utf-8"))
    found: Mapping[str, Any] = data[table]
    return found


def comes_with(distribution: str, records: Iterable[PluginRecord]) -> str:
    """Return `It comes with mlxk-run, which is not installed.`, or why the installed one does not have it."""
    return f"It comes with {distribution}{state_of(distribution, records)}"


def state_of(distribution: str, records: Iterable[PluginRecord]) -> str:
    """Return the end of a sentence that names `distribution`: that it is not installed, or why it cannot be used."""
    owner = next((record for record in records if distribution in (record.distribution, f"mlxk-{record.name}")), None)
    if owner is None:
        return ", which is not installed."
    if owner.status == "disabled":
        return f", which {owner.reason} turns off."
    if owner.status == "failed":
        return f", which failed: {owner.reason}."
    return f", but {owner.label} does not have it."


def unknown_command(name: str, commands: Iterable[str], records: Iterable[PluginRecord]) -> str | None:
    """Return what was meant by an unknown command, None if nothing is like it."""
    distribution = known("commands").get(name)
    if distribution:
        return comes_with(distribution, records)
    import difflib

    from mlxk_core._host.command_synonyms import COMMAND_ADVICE, COMMAND_SYNONYMS

    if name in COMMAND_ADVICE:
        return COMMAND_ADVICE[name]
    available, synonym = set(commands), COMMAND_SYNONYMS.get(name)
    close = [synonym] if synonym in available else difflib.get_close_matches(name, sorted(available), n=1)
    return f"Did you mean `{close[0]}`?" if close else None


def unknown_option(option: str, name: str, names: Iterable[str], hint: str = "") -> InvalidOption:
    """Return the error for a name that no plugin offers."""
    return InvalidOption(option, f"`{name}` is unknown; available: {', '.join(names) or 'none'}{hint}")


def options(option: str, values: Iterable[str]) -> str:
    """Return `--backend one or --backend two`."""
    return " or ".join(f"{option} {value}" for value in values)


def with_owners(entries: Iterable[tuple[Plugin, Named]]) -> str:
    """Return `one (plugin a), two (plugin b)`."""
    return ", ".join(f"{spec.name} (plugin {plugin.label})" for plugin, spec in entries)
