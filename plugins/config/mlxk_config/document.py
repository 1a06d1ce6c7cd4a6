"""The settings file as a document that can be changed."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions
from tomlkit.items import Table

from mlxk_core.api.errors import MlxkError, UsageError
from mlxk_core.api.settings import (
    Field,
    ModelSettings,
    SettingsError,
    SettingsSection,
    fields_of,
    parse_settings,
)


@dataclass
class SettingsDocument:
    """A settings file, its comments and order kept."""

    file: Path
    document: tomlkit.TOMLDocument

    @classmethod
    def read(cls, file: Path) -> SettingsDocument:
        """Read the file; an absent one is empty. Raises `SettingsError`."""
        try:
            text = file.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(file, f"cannot be read: {error}.") from error
        try:
            return cls(file, tomlkit.parse(text))
        except tomlkit.exceptions.TOMLKitError as error:
            raise SettingsError(file, f"invalid TOML: {error}.") from error

    @property
    def text(self) -> str:
        """The file's text with all changes."""
        return tomlkit.dumps(self.document)

    def data(self) -> Any:
        """Return the values as plain Python objects."""
        return self.document.unwrap()

    def get(self, key: tuple[str, ...]) -> Any:
        """Return the value of a key, None if it is not set."""
        value = self.data()
        for part in key:
            if not isinstance(value, dict) or part not in value:
                return None
            value = value[part]
        return value

    def set(self, key: tuple[str, ...], text: str, sections: Iterable[SettingsSection]) -> Any:
        """Set a key from its text and return the value. Raises `SettingsError` if the file would not be valid."""
        sections = list(sections)
        errors = []
        for value in _readings(text):
            changed = tomlkit.parse(self.text)
            _put(changed, key, value)
            try:
                parse_settings(tomlkit.dumps(changed), self.file, sections)
            except SettingsError as error:
                errors.append(error)
                continue
            self.document = changed
            return self.get(key)
        raise errors[0]

    def unset(self, key: tuple[str, ...]) -> bool:
        """Remove a key. False if it is not set."""
        if self.get(key) is None:
            return False
        table: Any = self.document
        for part in key[:-1]:
            table = table[part]
        table.remove(key[-1])
        return True

    def write(self) -> None:
        """Replace the file at once; a link to it stays a link."""
        target = self.file.resolve()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
            with tempfile.NamedTemporaryFile("w", dir=target.parent, encoding="utf-8", delete=False) as new:
                new.write(self.text)
            Path(new.name).chmod(mode)
            os.replace(new.name, target)  # noqa: PTH105
        except OSError as error:
            raise MlxkError(f"Cannot write {target}: {error.strerror or error}.", path=str(target)) from error

    @staticmethod
    def toml(value: Any) -> str:
        """Return a value as TOML writes it."""
        text: str = tomlkit.item(value).as_string()
        return text


def parse_key(text: str) -> tuple[str, ...]:
    """Return the parts of a dotted key. Raises `UsageError`."""
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"`{text}` is not a key. Put names with special characters in quotes: 'models.\"org/name\".temperature'."
        ) from error
    parts = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        parts.append(part)
    if len(parts) < 2:
        raise UsageError(f"`{text}` is not a setting. Write SECTION.KEY, such as `defaults.model`.")
    return tuple(parts)


def known_keys(sections: Iterable[SettingsSection]) -> Mapping[str, Field]:
    """Return every key a settings file can have, with what it means."""
    model = fields_of(ModelSettings)
    name = Field(name="model", type=str, listed=False, help="", least=None, most=None, default=None)
    keys = {
        "defaults.model": _helped(name, "The model of `mlxk run` without a name."),
        "aliases.NAME": _helped(name, "Another name of a model."),
    }
    keys |= {f"defaults.{field.name}": field for field in model.values()}
    keys |= {f'models."NAME".{field.name}': field for field in model.values()}
    for section in sections:
        keys |= {f"{section.name}.{field.name}": field for field in fields_of(section.type).values()}
    return keys


def _helped(field: Field, help: str) -> Field:
    return Field(
        name=field.name, type=field.type, listed=field.listed, help=help, least=None, most=None, default=field.default
    )


def _readings(text: str) -> list[Any]:
    """The values `text` may stand for: as TOML, else as a text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return [text]
    return [value, text]


def _put(document: tomlkit.TOMLDocument, key: tuple[str, ...], value: Any) -> None:
    table: Any = document
    for depth, part in enumerate(key[:-1]):
        if part not in table:
            # `[models."x"]` needs no empty `[models]` before it.
            table[part] = tomlkit.table(is_super_table=depth < len(key) - 2)
        table = table[part]
        if not isinstance(table, (Table, dict)):
            raise UsageError(f"`{'.'.join(key)}`: `{part}` is a value, not a section.")
    table[key[-1]] = value
