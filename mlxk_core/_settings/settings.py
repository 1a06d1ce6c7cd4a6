"""Reading the settings file."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlxk_core._errors import Kind, UsageError
from mlxk_core._host.specs import RESERVED_SECTIONS, SettingsSection
from mlxk_core._settings.sections import ModelSettings, fields_of

T = TypeVar("T")
DEFAULTS, ALIASES, MODELS = RESERVED_SECTIONS
DEFAULT_MODEL = "model"
"""A key of `[defaults]` next to those of a model."""
_DEFAULT_OWNER = "mlx-community/"
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_.\s-]|\"(?:[^\"\\]|\\.)*\"|'[^']*')+?)\s*=")
_TABLE = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$")


class SettingsError(UsageError):
    """The settings file cannot be read, or a value in it is wrong."""

    kind = Kind("invalid_settings", 2, 500)

    def __init__(self, file: Path, problem: str, *, line: int | None = None) -> None:
        where = f"{file}:{line}" if line else str(file)
        super().__init__(f"{where}: {problem}", path=str(file), line=line)


@dataclass(frozen=True)
class Settings:
    """The values of the settings file; an absent file has none."""

    file: Path | None = None
    default_model: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    defaults: ModelSettings = field(default_factory=ModelSettings)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)

    def for_model(self, name: str, variant: str | None = None) -> ModelSettings:
        """Return the settings of a model by its listed name: its own, then `[defaults]`."""
        names = [name, name.removeprefix(_DEFAULT_OWNER)]
        keys = [f"{each}:{variant}" for each in names if variant] + names
        merged = ModelSettings()
        for key in keys:
            if key in self.models:
                merged = merged.merged(self.models[key])
        return merged.merged(self.defaults)

    def section(self, type: type[T]) -> T:
        """Return a plugin's section as its dataclass, with defaults for what the file does not set."""
        found = next((value for value in self.sections.values() if isinstance(value, type)), None)
        return type() if found is None else found


def settings_file() -> Path:
    """Return the path of the settings file: `MLXK_CONFIG`, else `mlxk/config.toml` in `XDG_CONFIG_HOME`."""
    if chosen := os.environ.get("MLXK_CONFIG"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "mlxk" / "config.toml"


def read_settings(file: Path, sections: Iterable[SettingsSection], *, complete: bool = True) -> Settings:
    """Read and validate the file. Raises `SettingsError` with the line of the first wrong key or value.

    `complete` False leaves unknown sections alone: the plugin that has them is not loaded.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if os.environ.get("MLXK_CONFIG"):
            raise SettingsError(file, "no such file; MLXK_CONFIG names it.") from None
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(file, f"cannot be read: {error}.") from error
    return parse_settings(text, file, sections, complete=complete)


def parse_settings(text: str, file: Path, sections: Iterable[SettingsSection], *, complete: bool = True) -> Settings:
    """Validate the text of a settings file; `file` is for error messages."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(file, f"invalid TOML: {error}.") from error
    reader = _Reader(text, file)
    known = {section.name: section for section in sections}
    for name, value in data.items():
        if name not in known and name not in RESERVED_SECTIONS and complete:
            raise reader.unknown((name,), [*RESERVED_SECTIONS, *known], what="section")
        if (name in known or name in RESERVED_SECTIONS) and not isinstance(value, dict):
            raise reader.error((name,), f"`{name}` is a section: write [{name}].")
    defaults = dict(data.get(DEFAULTS, {}))
    default_model = defaults.pop(DEFAULT_MODEL, None)
    if default_model is not None and (not isinstance(default_model, str) or not default_model.strip()):
        raise reader.error((DEFAULTS, DEFAULT_MODEL), "`model` must be the name of a model.")
    aliases = data.get(ALIASES, {})
    for name, value in aliases.items():
        if not isinstance(value, str) or not value.strip():
            raise reader.error((ALIASES, name), f"`{name}` must be the name of a model.")
        if value in aliases:
            raise reader.error((ALIASES, name), f"`{name}` must name a model, not another alias.")
    models = {}
    for name, values in data.get(MODELS, {}).items():
        if not isinstance(values, dict) or ("." not in name and any(isinstance(v, dict) for v in values.values())):
            raise reader.error((MODELS, name), f'a name with a dot is written in quotes: [models."{name}"].')
        models[name] = reader.section((MODELS, name), ModelSettings, values)
    return Settings(
        file=file,
        default_model=default_model,
        aliases=aliases,
        defaults=reader.section((DEFAULTS,), ModelSettings, defaults, also=(DEFAULT_MODEL,)),
        models=models,
        sections={
            name: reader.section((name,), section.type, data[name]) for name, section in known.items() if name in data
        },
    )


@dataclass(frozen=True)
class _Reader:
    """Makes sections of the parsed file, and errors with the line of a key."""

    text: str
    file: Path

    def section(
        self, path: tuple[str, ...], type: type[T], values: Mapping[str, Any], *, also: Sequence[str] = ()
    ) -> T:
        known = fields_of(type)
        parsed = {}
        for name, value in values.items():
            if name not in known:
                raise self.unknown((*path, name), [*known, *also], what="key")
            try:
                parsed[name] = known[name].parse(value)
            except ValueError as error:
                raise self.error((*path, name), f"`{name}`: {error}.") from error
        return type(**parsed)

    def unknown(self, path: tuple[str, ...], known: Sequence[str], *, what: str) -> SettingsError:
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(sorted(known))}."
        return self.error(path, f"unknown {what} `{path[-1]}`. {hint}")

    def error(self, path: tuple[str, ...], problem: str) -> SettingsError:
        return SettingsError(self.file, problem, line=line_of(self.text, path))


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line, from 1 on, where the key or table `path` first appears in a TOML text."""
    for number, keys in _keys(text):
        if keys[: len(path)] == path:
            return number
    return None


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _dotted(found[1])
            yield number, table
        elif found := _KEY.match(line):
            yield number, (*table, *_dotted(found[1]))


def _dotted(text: str) -> tuple[str, ...]:
    """`a."b.c"` as its parts, read by the TOML parser itself."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        parts.append(part)
    return tuple(parts)
