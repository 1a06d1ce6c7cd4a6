"""Reading the settings file."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mlxk_core._errors import Kind, UsageError
from mlxk_core._host.specs import RESERVED_SECTIONS, SettingsSection
from mlxk_core._models.files import read_small_file
from mlxk_core._models.references import short_name
from mlxk_core._paths import expand_user, user_folder
from mlxk_core._settings.sections import ModelSettings, fields_of
from mlxk_core._text.shorten import shorten

T = TypeVar("T")
DEFAULTS, ALIASES, MODELS = RESERVED_SECTIONS
DEFAULT_MODEL = "model"
"""A key of `[defaults]` next to those of a model."""
_TOML_PLACE = re.compile(r"\s*\(at line (\d+), column \d+\)")
_LONGEST_SHOWN = 40
_LARGEST_FILE = 256 << 10
_MOST_PARTS = 100
# The time of both TOML parsers grows with the square of the parts of a key. Possessive, so that the search is linear.
_LONG_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"
    f"{{{_MOST_PARTS}}}"
)
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_.\s-]|\"(?:[^\"\\]|\\.)*\"|'[^']*')+?)\s*=")
_TABLE = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$")


class SettingsError(UsageError):
    """The settings file cannot be read, or a value in it is wrong."""

    kind = Kind("invalid_settings", 2, 500)

    def __init__(self, file: Path, problem: str, *, line: int | None = None) -> None:
        where = f"{file}:{line}" if line else str(file)
        super().__init__(f"{where}: {problem}", path=str(file), line=line)


@dataclass(frozen=True, slots=True)
class Layer:
    """The settings of one section that apply to a model. `path` is the section's: `("models", "org/name")`."""

    path: tuple[str, ...]
    values: ModelSettings

    @property
    def section(self) -> str:
        """The section as the file writes it."""
        return f"[{self.path[0]}]" if len(self.path) == 1 else f'[{self.path[0]}."{self.path[1]}"]'


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """Where the value of a setting comes from: a section, and a line of the file from 1 on."""

    section: str
    file: Path
    line: int | None

    def __str__(self) -> str:
        return f"{self.section} in {self.file.name}{f', line {self.line}' if self.line else ''}"


@dataclass(frozen=True)
class Settings:
    """The values of the settings file; an absent file has none."""

    file: Path | None = None
    default_model: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    defaults: ModelSettings = field(default_factory=ModelSettings)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    text: str = field(default="", repr=False, compare=False)

    def for_model(self, name: str, variant: str | None = None) -> ModelSettings:
        """Return the settings of a model by its listed name: those of its variant, its own, then `[defaults]`."""
        merged = ModelSettings()
        for layer in self.layers(name, variant):
            merged = merged.merged(layer.values)
        return merged

    def layers(self, name: str, variant: str | None = None) -> Sequence[Layer]:
        """Return the sections that apply to a model, in order of precedence."""
        names = [name, short_name(name)]
        keys = dict.fromkeys([f"{each}:{variant}" for each in names if variant] + names)
        found = [Layer((MODELS, key), self.models[key]) for key in keys if key in self.models]
        return [*found, Layer((DEFAULTS,), self.defaults)]

    def origin(self, key: str, name: str, variant: str | None = None) -> SettingOrigin | None:
        """Return where a model's value of `key` comes from; None if no section sets it."""
        for layer in self.layers(name, variant):
            if self.file is not None and getattr(layer.values, key) is not None:
                return SettingOrigin(layer.section, self.file, line_of(self.text, (*layer.path, key)))
        return None

    def expand(self, reference: str) -> str:
        """Return `reference` with the alias that it is, or begins with (`small:Q4_0`, `small@main`), replaced."""
        if reference in self.aliases:
            return self.aliases[reference]
        end = next((i for i, character in enumerate(reference) if character in ":@"), len(reference))
        target = self.aliases.get(reference[:end])
        return reference if target is None else target + reference[end:]

    def section(self, type: type[T]) -> T:
        """Return a plugin's section as its dataclass, with defaults for what the file does not set."""
        found = next((value for value in self.sections.values() if isinstance(value, type)), None)
        return type() if found is None else found


def settings_file() -> Path:
    """Return the path of the settings file: `MLXK_CONFIG`, else `mlxk/config.toml` in `XDG_CONFIG_HOME`.

    Raises `NoHomeFolder`.
    """
    if chosen := os.environ.get("MLXK_CONFIG"):
        return expand_user(chosen)
    return user_folder("XDG_CONFIG_HOME", "~/.config") / "mlxk" / "config.toml"


def read_settings(file: Path, sections: Iterable[SettingsSection], *, complete: bool = True) -> Settings:
    """Read and validate the file. Raises `SettingsError` with the line of the first wrong key or value.

    With `complete` False unknown sections are ignored: their plugin is not loaded.
    """
    text = read_text(file)
    return Settings() if text is None else parse_settings(text, file, sections, complete=complete)


def read_text(file: Path) -> str | None:
    """Return the text of the file, None if the default one does not exist. `/dev/null` is an empty file.

    Raises `SettingsError`, also for a pipe, a device or a large file, which could take forever to read or parse.
    """
    try:
        if str(file) == os.devnull:
            return ""
        return read_small_file(file, _LARGEST_FILE).decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        if os.environ.get("MLXK_CONFIG"):
            raise SettingsError(
                file, "no such file (from MLXK_CONFIG). `mlxk config edit` creates it, or unset MLXK_CONFIG."
            ) from None
        return None
    except UnicodeDecodeError as error:
        raise SettingsError(file, "the file is not UTF-8 text.") from error
    except OSError as error:
        raise SettingsError(file, f"cannot be read: {error.strerror or error}.") from error


def parse_settings(text: str, file: Path, sections: Iterable[SettingsSection], *, complete: bool = True) -> Settings:
    """Validate the text of a settings file; `file` is for error messages, and paths in the text are relative to its
    folder."""
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise SettingsError(file, f"invalid TOML: a key has more than {_MOST_PARTS} parts.", line=line)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise SettingsError(file, "invalid TOML: it is nested too deep.") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of thousands of digits
        place = _TOML_PLACE.search(str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        raise SettingsError(file, f"invalid TOML: {_TOML_PLACE.sub('', str(error))}.", line=line) from error
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
    aliases = reader.aliases(data.get(ALIASES, {}))
    return Settings(
        file=file,
        default_model=default_model,
        aliases=aliases,
        defaults=reader.section((DEFAULTS,), ModelSettings, defaults, also=(DEFAULT_MODEL,)),
        models=reader.models(data.get(MODELS, {}), aliases),
        sections={
            name: reader.section((name,), section.type, data[name]) for name, section in known.items() if name in data
        },
        text=text,
    )


@dataclass(frozen=True)
class _Reader:
    """Builds sections from the parsed file, and errors with the line of a key."""

    text: str
    file: Path

    def section(
        self, path: tuple[str, ...], type: type[T], values: Mapping[str, Any], *, also: Sequence[str] = ()
    ) -> T:
        known = fields_of(type)  # type: ignore[arg-type]  # mypy takes no type[T] for hashable
        parsed = {}
        for name, value in values.items():
            if name not in known:
                raise self.unknown((*path, name), [*known, *also], what="key")
            try:
                parsed[name] = known[name].parse(value)
            except ValueError as error:
                raise self.error((*path, name), f"`{name}`: {error}, not {_show(value)}.") from error
            if known[name].form == "file":
                parsed[name] = str(self.file.absolute().parent / expand_user(parsed[name]))
        return type(**parsed)

    def aliases(self, values: Mapping[str, Any]) -> Mapping[str, str]:
        """Check the section of aliases: each is one word for one model, and none leads to another."""
        seen: dict[str, str] = {}
        for name, value in values.items():
            if not isinstance(value, str) or not value.strip():
                raise self.error((ALIASES, name), f"`{name}` must be the name of a model.")
            if not name or name.split() != [name] or name[0] in "./~-" or "@" in name:
                raise self.error((ALIASES, name), f"`{name}` cannot be an alias: use one word without `@`.")
            if other := seen.get(name.casefold()):
                raise self.error((ALIASES, name), f"`{name}` and `{other}` differ in case only; keep one of them.")
            seen[name.casefold()] = name
        found = Settings(aliases=values)
        for name, value in values.items():
            if found.expand(value) != value:
                raise self.error((ALIASES, name), f"`{name}` must name a model, not the alias `{value}`.")
        return values

    def models(self, values: Mapping[str, Any], aliases: Mapping[str, str]) -> Mapping[str, ModelSettings]:
        models = {}
        for name, keys in values.items():
            if not isinstance(keys, dict) or ("." not in name and any(isinstance(v, dict) for v in keys.values())):
                raise self.error((MODELS, name), f'a name with a dot is written in quotes: [models."{name}"].')
            if name in aliases:
                raise self.error(
                    (MODELS, name),
                    f"[models.{name}]: settings belong to a model, and `{name}` is an alias. "
                    f'Write [models."{aliases[name]}"].',
                )
            models[name] = self.section((MODELS, name), ModelSettings, keys)
        return models

    def unknown(self, path: tuple[str, ...], known: Sequence[str], *, what: str) -> SettingsError:
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(sorted(known))}."
        return self.error(path, f"unknown {what} `{shorten(path[-1], _LONGEST_SHOWN)}`. {hint}")

    def error(self, path: tuple[str, ...], problem: str) -> SettingsError:
        return SettingsError(self.file, problem, line=line_of(self.text, path))


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except ValueError:  # TOML has hexadecimal numbers of any length
        text = "a number of thousands of digits"
    return shorten(text, _LONGEST_SHOWN)


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line, from 1 on, where the key or table `path` first appears in a TOML text."""
    return _lines(text).get(path)


@lru_cache(maxsize=4)
def _lines(text: str) -> Mapping[tuple[str, ...], int]:
    """Return the line where each key and table first appears."""
    lines: dict[tuple[str, ...], int] = {}
    for number, keys in _keys(text):
        for length in range(1, len(keys) + 1):
            lines.setdefault(keys[:length], number)
    return lines


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _split_key(found[1])
            yield number, table
        elif found := _KEY.match(line):
            yield number, (*table, *_split_key(found[1]))


def _split_key(text: str) -> tuple[str, ...]:
    """Return the parts of a dotted key such as `a."b.c"`, read by the TOML parser itself."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        parts.append(part)
    return tuple(parts)
