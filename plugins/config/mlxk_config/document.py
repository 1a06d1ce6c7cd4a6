"""The settings file as a document that can be changed."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
import tomlkit.exceptions
from tomlkit.items import Table

from mlxk_core.api.errors import InvalidOption, MlxkError, UsageError
from mlxk_core.api.paths import expand_user, is_file, is_folder, lock_exclusively, path_exists, replace_file
from mlxk_core.api.settings import (
    Field,
    ModelSettings,
    SettingsError,
    SettingsSection,
    fields_of,
    parse_settings,
    read_text,
)

_LOCK_SECONDS = 30.0


@dataclass
class SettingsDocument:
    """A settings file that keeps its comments and order when it changes."""

    file: Path
    document: tomlkit.TOMLDocument

    @classmethod
    def read(cls, file: Path, *, create: bool = False) -> SettingsDocument:
        """Read the file. A missing one is empty if it is the default file, or with `create`. Raises `SettingsError`."""
        text = None if create and not path_exists(file) else read_text(file)
        try:
            return cls(file, tomlkit.parse(text or ""))
        except tomlkit.exceptions.TOMLKitError:
            parse_settings(text or "", file, ())  # the same error as that of the other commands, with its line
            raise

    @classmethod
    @contextlib.contextmanager
    def change(cls, file: Path, *, create: bool = False) -> Iterator[SettingsDocument]:
        """Read the file for the block, and replace it afterwards. Other processes that change it wait meanwhile.

        Raises the errors of `read`, and `MlxkError` if it cannot be written.
        """
        with _locked(Path(os.path.realpath(file)).parent, create=create):
            document = cls.read(file, create=create)
            yield document
            replace_file(file, document.text)

    @property
    def text(self) -> str:
        """The file's text with all changes."""
        return tomlkit.dumps(self.document)

    def data(self) -> Any:
        """Return the values as plain Python objects."""
        return self.document.unwrap()

    def path(self, text: str) -> tuple[str, ...]:
        """Return the parts of a dotted key; `models.NAME` may also be a whole section of this file."""
        section, _, name = text.partition(".")
        if section == "models" and self.get((section, name)) is not None:
            return section, name
        return parse_key(text)

    def get(self, key: tuple[str, ...]) -> Any:
        """Return the value of a key, None if it is not set."""
        value = self.data()
        for part in key:
            if not isinstance(value, dict) or part not in value:
                return None
            value = value[part]
        return value

    def set(
        self, key: tuple[str, ...], text: str, sections: Iterable[SettingsSection], *, complete: bool = True
    ) -> Any:
        """Set a key from its text and return the value. Raises `InvalidOption` for a wrong value, `SettingsError` if
        the file would not be valid. With `complete` False unknown sections are ignored."""
        sections = list(sections)
        errors: list[MlxkError] = []
        field = field_of(key, sections)
        if field is not None and field.form == "file":
            text = _file(text, exists=key[0] in {"models", "defaults"})
        for value in _readings(text):
            try:
                if field is not None:
                    field.parse(value)
            except ValueError as problem:
                errors.append(InvalidOption(".".join(key), f"{problem}, not {text!r}. Nothing was written."))
                continue
            changed = tomlkit.parse(self.text)
            _put(changed, key, value)
            try:
                parse_settings(tomlkit.dumps(changed), self.file, sections, complete=complete)
            except SettingsError as error:
                errors.append(error)
                continue
            self.document = changed
            return self.get(key)
        raise errors[0]

    def unset(self, key: tuple[str, ...]) -> bool:
        """Remove a key, and its section if nothing else is in it; return False if it is not set."""
        if self.get(key) is None:
            return False
        tables: list[Any] = [self.document]
        for part in key[:-1]:
            tables.append(tables[-1][part])
        del tables.pop()[key[-1]]  # sections that are apart are one proxy, which has no `remove`
        for table, part in zip(reversed(tables), reversed(key[:-1]), strict=True):
            empty = table[part]
            if empty or empty.trivia.comment or "#" in empty.as_string():
                break
            del table[part]
        return True

    @staticmethod
    def toml(value: Any) -> str:
        """Return a value in TOML."""
        text: str = tomlkit.item(value).as_string()
        return text


@contextlib.contextmanager
def _locked(folder: Path, *, create: bool) -> Iterator[None]:
    """Hold a lock on a folder; nothing is held for one that does not exist, unless it is created."""
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC) if is_folder(folder) else None
    except OSError as error:
        raise MlxkError(f"Cannot use {folder}: {error.strerror or error}.", path=str(folder)) from error
    if descriptor is None:
        yield
        return
    try:
        lock_exclusively(descriptor, _LOCK_SECONDS)
    except BlockingIOError:
        os.close(descriptor)
        raise MlxkError(f"Another process is changing the settings in {folder}.", path=str(folder)) from None
    except OSError:
        pass  # a disk without locks
    try:
        yield
    finally:
        os.close(descriptor)


def parse_key(text: str) -> tuple[str, ...]:
    """Return the parts of a dotted key. Raises `UsageError`.

    The name of a model needs no quotes in `models.NAME.KEY`, although it may have dots and slashes.
    """
    section, _, rest = text.partition(".")
    name, _, key = rest.rpartition(".")
    if section == "models" and key in fields_of(ModelSettings) and name and not set(name) & {'"', "'"}:
        return section, name, key
    try:
        value: Any = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError as error:
        if section == "models" and name and key:
            return section, name, key  # an unknown key of a model
        raise UsageError(
            f"`{text}` is not a key. Write SECTION.KEY, such as `defaults.model` or `models.org/name.temperature`."
        ) from error
    parts = []
    while isinstance(value, dict) and len(value) == 1:
        [(part, value)] = value.items()
        parts.append(part)
    if len(parts) < 2 or isinstance(value, dict):
        raise UsageError(f"`{text}` is not a setting. Write SECTION.KEY, such as `defaults.model`.")
    return tuple(parts)


def known_keys(sections: Iterable[SettingsSection]) -> Mapping[str, Field]:
    """Return every key a settings file can have, with its field."""
    model = fields_of(ModelSettings)
    keys = {
        "defaults.model": Field(name="model", type=str, help="The model of `mlxk run` without a name."),
        "aliases.NAME": Field(name="NAME", type=str, help="Another name of a model."),
    }
    keys |= {f"defaults.{field.name}": field for field in model.values()}
    keys |= {f"models.NAME.{field.name}": field for field in model.values()}
    for section in sections:
        keys |= {f"{section.name}.{field.name}": field for field in fields_of(section.type).values()}
    return keys


def generic_key(key: tuple[str, ...]) -> str:
    """Return a key as `known_keys` has it: `models.NAME.temperature`."""
    return ".".join((key[0], "NAME", *key[2:]) if key[0] in ("models", "aliases") else key)


def field_of(key: tuple[str, ...], sections: Iterable[SettingsSection]) -> Field | None:
    """Return the field of a key, None for an unknown key."""
    return known_keys(sections).get(generic_key(key))


def _file(text: str, *, exists: bool) -> str:
    """Return the absolute path of a file that was typed: in the settings a relative one has another meaning.

    A chat template has to exist; the file of a plugin may be one that it writes.
    """
    path = expand_user(text)
    if not is_file(path) if exists else not is_folder(path.parent):
        raise UsageError(f"No such file: {text}." if exists else f"No such folder: {path.parent}.")
    return str(path.absolute())


def _readings(text: str) -> list[Any]:
    """Return the possible values of `text`: as TOML, then as text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError, KeyError):  # not TOML, or more digits or levels than Python reads
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
