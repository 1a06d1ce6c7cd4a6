"""One resolved model: its files, read on first access and never executed."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from mlxk_core._errors import BrokenModel, release_locals
from mlxk_core._models.bounded_json import MAX_VALUES, count_values, parse_json
from mlxk_core._models.cached import cached_property
from mlxk_core._models.file_stamp import FileStamp, file_stamp
from mlxk_core._models.files import (
    open_file,
    parse_shard,
    read_error,
    read_small_file,
    weight_format,
)
from mlxk_core._models.folder_entries import folder_entries
from mlxk_core._models.folder_walk import MOST_FILES, walk
from mlxk_core._models.gguf import GGUFHeader, read_gguf_header
from mlxk_core._models.variants import Variant, gguf_variants
from mlxk_core._models.weights import Weights, read_weights
from mlxk_core._settings.sections import ModelSettings
from mlxk_core._system_limits import raise_system_limit
from mlxk_core._text.moments import moment_of

Origin = Literal["hub", "path", "source"]
_T = TypeVar("_T")
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_ADDED_TOKENS = re.compile(rb'"added_tokens"\s{0,99}+:\s{0,99}+\[')  # megabytes of white space take a second
_TOKEN_ID = re.compile(r"[0-9]{1,18}")
_CHUNK = 1 << 16
_LARGEST_TOKENIZER = 64 << 20
_LARGEST_ADDED = 16 << 20
"""Bytes of the added tokens in tokenizer.json; `MAX_VALUES` of ordinary ones have 10 million."""
_LARGE = 1 << 20
_LARGE_FILES = threading.BoundedSemaphore(1)
"""Held while more than that of a JSON file is read: it keeps the interpreter locked, and many threads would take
gigabytes."""
"""Bytes of a `tokenizer.json`; the largest published ones have 35 MB."""
_LARGEST_TEXT = 16 << 20  # bytes; configs of models with 100,000 added tokens take 10 MB
_LARGEST_TEMPLATES = 2 << 20  # bytes of all; the longest published template has 50,000
_LONGEST_SETTING = 1 << 16  # characters of a text in config.json
_MOST_TEMPLATES = 64
# Errors of opening a file that does not exist. A check before would raise as well, in an unreadable folder.
_ABSENT = (FileNotFoundError, NotADirectoryError)
_READ = (
    "variants", "gguf", "shared_gguf", "weights", "config", "tokenizer_config", "generation_config", "chat_templates",
    "added_tokens",
)  # fmt: skip
"""The attributes of a model that are read from files, and may take megabytes."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model: its path inside the model (`/` separated) and its size in bytes (links followed)."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is more than text to the tokenizer. `special` ones are markers, others are words kept whole."""

    id: int
    text: str
    special: bool


@dataclass(frozen=True, kw_only=True)
class Model:
    """A resolved model on this machine.

    `name` is what lists show (`org/name`, a source's name, or a folder's name); `path` its folder, or a single
    `.gguf` file. `revision` is the hub's commit, None elsewhere. `variant` is the GGUF variant that was asked for.
    `defaults` come before the model's own `generation_config.json` (a source knows its model best).
    A missing file reads as an empty value; a damaged one raises `BrokenModel`.
    """

    name: str
    path: Path
    origin: Origin = "path"
    revision: str | None = None
    source: str | None = None
    variant: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False)
    settings: ModelSettings = field(default=ModelSettings(), compare=False)
    """The user's settings for this model."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone: cached values are cheap to read again and may take megabytes."""
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, "defaults": dict(self.defaults)}

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Every file, sorted by name. Hidden ones are left out, a dangling link has size 0.

        A single `.gguf` file is just itself, together with its other shards if it is one of several.
        """
        if self.path.is_dir():
            found: Iterator[File] | list[File] = _files_below(str(self.path))
        elif self.path.is_file():
            of_set = parse_shard(self.path.name)._replace(number=1)
            found = [
                File(path.name, _size(path))
                for path in (_siblings(self.path) if of_set.total > 1 else [self.path])
                if parse_shard(path.name)._replace(number=1) == of_set
            ]
        else:
            found = []
        return tuple(sorted(found, key=lambda file: file.name))

    @cached_property
    def _versions(self) -> Mapping[str, FileStamp | tuple[()]]:
        return _versions(self.path if self.path.is_dir() else self.path.parent, self.files)

    def note_versions(self) -> None:
        """Note which file is there under each name, for `check_unchanged`. To be called before anything is read."""
        _ = self._versions

    def forget(self) -> None:
        """Drop what was read of the files; it is read again when it is asked for."""
        for name in _READ:
            self.__dict__.pop(name, None)

    @property
    def files_digest(self) -> bytes:
        """What tells the files that `note_versions` has seen from others: 32 bytes, however many they are."""
        return sha256(repr(sorted(self._versions.items())).encode("utf-8", "surrogatepass")).digest()

    def check_unchanged(self) -> None:
        """Raise `BrokenModel` if a file is another one than `note_versions` has seen, or is gone: a library that reads
        it again would not get what was checked."""
        now = _versions(self.path if self.path.is_dir() else self.path.parent, self.files)
        changed = sorted(name for name, version in self._versions.items() if now[name] != version)
        if changed:
            raise BrokenModel(
                f"{changed[0]} of `{self.name}` changed while the model was loaded. Try again.",
                model=self.name,
                file=changed[0],
            )

    @property
    def downloaded_at(self) -> datetime | None:
        """When the files were downloaded, UTC; None without files, or if the disk has an impossible date."""
        try:
            return moment_of(self.path.stat().st_mtime)
        except OSError:
            return None

    @property
    def size(self) -> int:
        """Bytes on disk, all files together."""
        return sum(file.size for file in self.files)

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The GGUF variants among the files, smallest first."""
        return gguf_variants(self.files)

    @cached_property
    def gguf_variant(self) -> Variant | None:
        """The selected variant: the one asked for, or the only one of a model that has no other weights."""
        if self.variant is not None:
            asked = self.variant.casefold()
            return next((each for each in self.variants if each.name.casefold() == asked), None)
        if len(self.variants) == 1 and not self.has_other_weights:
            return self.variants[0]
        return None

    @property
    def has_other_weights(self) -> bool:
        """Whether there are weights in a format other than GGUF."""
        return any(weight_format(file.name) not in (None, "gguf") for file in self.files)

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file to run: the first shard of the selected variant, or the model's only file."""
        if self.gguf_variant:
            folder = self.path if self.path.is_dir() else self.path.parent
            return folder / self.gguf_variant.files[0]
        return self.path if self.path.suffix.lower() == ".gguf" and not self.path.is_dir() else None

    @cached_property
    def gguf(self) -> GGUFHeader | None:
        """The header of `gguf_path`, or None for a model in another form."""
        path = self.gguf_path
        return read_gguf_header(path) if path else None

    @cached_property
    def shared_gguf(self) -> GGUFHeader | None:
        """The header of `gguf_path`; where no variant is chosen, the smallest one's, for what all of them share."""
        if self.gguf_variant or not self.variants or self.has_other_weights:
            return self.gguf
        return replace(self, variant=self.variants[0].name).gguf

    @cached_property
    def weights(self) -> Weights:
        """The safetensors weights as their headers list them (empty without any); damaged files are named in it."""
        return read_weights(self.path, (file.name for file in self.files))

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return self._json("config.json")

    @cached_property
    def tokenizer_config(self) -> Mapping[str, Any]:
        return self._json("tokenizer_config.json")

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        """`generation_config.json`, with `defaults` laid over it."""
        return {**self._json("generation_config.json"), **self.defaults}

    @cached_property
    def chat_templates(self) -> Mapping[str, str]:
        """The Jinja sources of all chat templates by name: `default`, and perhaps `tool_use`, `rag` or others.

        A file in the settings replaces all of them. Otherwise, the default is from the first place that has one: the
        GGUF header, `chat_template.jinja`, `tokenizer_config.json`, `chat_template.json`. Named ones are added from all
        of them and from `additional_chat_templates/`.
        """
        return self._once("chat templates", self._read_templates)

    def _read_templates(self) -> Mapping[str, str]:
        if self.settings.chat_template is not None:
            return {"default": self._template_of_settings(Path(self.settings.chat_template))}
        found: dict[str, str] = {}
        for _, templates in self._template_places():
            found = {**templates, **found}
        self._check_templates(found.values())
        if found and "default" not in found:
            found["default"] = next(iter(found.values()))
        return found

    @property
    def chat_template(self) -> str | None:
        """The Jinja source of the default chat template."""
        return self.chat_templates.get("default")

    @property
    def chat_template_file(self) -> str | None:
        """Where the default chat template is: the name of a file of the model, `GGUF header`, or the path in the
        settings; None without one."""
        if self.settings.chat_template is not None:
            return self.settings.chat_template
        return next((place for place, templates in self._template_places() if "default" in templates), None)

    @property
    def template_text(self) -> str:
        """The sources of all chat templates, to search them for a marker."""
        return "\n".join(self.chat_templates.values())

    def _template_of_settings(self, path: Path) -> str:
        try:
            return read_small_file(path, _LARGEST_TEMPLATES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror or error
            raise BrokenModel(
                f"The chat template that the settings name for `{self.name}` cannot be read: {path}: {reason}.",
                model=self.name,
                file=str(path),
            ) from error

    def _template_places(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        if self.gguf:
            yield "GGUF header", gguf_templates(self.gguf.metadata)
        yield "chat_template.jinja", _named_templates(self._text("chat_template.jinja", _LARGEST_TEMPLATES))
        for name in ("tokenizer_config.json", "chat_template.json"):
            yield name, _named_templates(self._json(name).get("chat_template"))
        yield "additional_chat_templates", self._additional_templates()

    def _additional_templates(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for path in (PurePosixPath(file.name) for file in self.files):
            if not path.match("additional_chat_templates/*.jinja") or len(path.parts) != 2:
                continue
            if (text := self._text(str(path), _LARGEST_TEMPLATES)) and text.strip():
                found[path.stem] = text
                self._check_templates(found.values())
        return found

    def _check_templates(self, texts: Collection[str]) -> None:
        if len(texts) > _MOST_TEMPLATES or sum(map(len, texts)) > _LARGEST_TEMPLATES:
            raise BrokenModel(
                f"`{self.name}` has too many chat templates, or they are too large (at most {_MOST_TEMPLATES}, "
                f"{_LARGEST_TEMPLATES >> 20} MiB together).",
                model=self.name,
            )

    @cached_property
    def added_tokens(self) -> Mapping[str, AddedToken]:
        """The added tokens by their text, from `tokenizer.json`, `tokenizer_config.json` or the GGUF header."""
        if self.gguf:
            return {t.text: t for t in (AddedToken(*entry) for entry in self.gguf.added_tokens())}
        found: dict[str, AddedToken] = {}
        decoder = self.tokenizer_config.get("added_tokens_decoder")
        for key, entry in decoder.items() if isinstance(decoder, dict) else ():
            if isinstance(entry, dict) and _TOKEN_ID.fullmatch(key) and isinstance(entry.get("content"), str):
                found[entry["content"]] = AddedToken(int(key), entry["content"], bool(entry.get("special")))
        for entry in self._once("tokenizer.json", self._tokenizer_added_tokens):
            if isinstance(entry, dict) and isinstance(entry.get("content"), str) and isinstance(entry.get("id"), int):
                found[entry["content"]] = AddedToken(entry["id"], entry["content"], bool(entry.get("special")))
        return found

    def _tokenizer_added_tokens(self) -> list[Any]:
        """Return the list in `tokenizer.json`, without reading the megabytes of vocabulary that follow it."""
        path = self.path / "tokenizer.json"
        data = b""
        try:
            with open_file(path) as file, ExitStack() as room:
                size = os.fstat(file.fileno()).st_size
                if size > _LARGEST_TOKENIZER:
                    raise ValueError(f"it has {size:,} bytes (at most {_LARGEST_TOKENIZER:,})")
                while chunk := file.read(min(_CHUNK + len(data), size - len(data))):
                    if len(data) <= _LARGE < len(data) + len(chunk):  # most have the list in the first piece
                        room.enter_context(_LARGE_FILES)
                    data += chunk
                    if match := _ADDED_TOKENS.search(data):
                        value = _leading_list(data[match.end() - 1 :])
                        if value is not None:
                            return value
                        if len(data) - match.end() > _LARGEST_ADDED:
                            raise ValueError(f"its added tokens have over {_LARGEST_ADDED:,} bytes")
        except _ABSENT:
            return []
        except (OSError, ValueError) as error:
            raise BrokenModel(
                f"tokenizer.json of `{self.name}` cannot be read: {read_error(error)}", model=self.name, file=path.name
            ) from error
        if _ADDED_TOKENS.search(data):
            raise BrokenModel(f"tokenizer.json of `{self.name}` is cut off.", model=self.name, file=path.name)
        return []

    def _text(self, name: str, limit: int = _LARGEST_TEXT) -> str | None:
        """Return the text of a file of up to `limit` bytes, None without one."""
        try:
            return read_small_file(self.path / name, limit).decode("utf-8")
        except _ABSENT:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenModel(
                f"{name} of `{self.name}` cannot be read: {read_error(error)}", model=self.name, file=name
            ) from error

    def _json(self, name: str) -> Mapping[str, Any]:
        return self._once(name, lambda: self._parse(name))

    def _once(self, file: str, read: Callable[[], _T]) -> _T:
        """Return what `read` returns, or raise its `BrokenModel` again: many ask about a damaged file of megabytes."""
        error = self._broken.get(file)
        if error is None:
            try:
                return read()
            except BrokenModel as caught:
                error = caught
                release_locals(error)  # such as a text of megabytes
                if not isinstance(caught.__cause__, OSError):  # the system may read the file the next time
                    self._broken[file] = caught
        raise error.with_traceback(None)

    @cached_property
    def _broken(self) -> dict[str, BrokenModel]:
        return {}

    def _parse(self, name: str) -> Mapping[str, Any]:
        text = self._text(name)
        if text is None:
            return _EMPTY
        try:
            with _LARGE_FILES if len(text) > _LARGE else nullcontext():
                value = parse_json(text, longest_text=_LONGEST_SETTING if name == "config.json" else None)
        except ValueError as error:
            problem = "is not JSON" if isinstance(error, json.JSONDecodeError) else "cannot be read"
            raise BrokenModel(f"{name} of `{self.name}` {problem}: {error}", model=self.name, file=name) from error
        if not isinstance(value, dict):
            raise BrokenModel(f"{name} of `{self.name}` must be a JSON object.", model=self.name, file=name)
        return value


def _leading_list(data: bytes) -> list[Any] | None:
    """Return the JSON list that `data` begins with, None if it is not complete. Raises `ValueError`."""
    if (count := count_values(data)) > MAX_VALUES:
        raise ValueError(f"its added tokens have about {count:,} values (at most {MAX_VALUES:,})")
    try:
        # latin-1 maps every byte, so a character cut by the chunk does not fail.
        end = json.JSONDecoder().raw_decode(data.decode("latin-1"))[1]
    except RecursionError:
        raise ValueError("its added tokens are nested too deeply") from None
    except ValueError:
        return None
    value = json.loads(data[:end])
    return value if isinstance(value, list) else []


def _named_templates(value: Any) -> dict[str, str]:
    """Return the templates in `value`: a text, or a list of named ones."""
    if isinstance(value, str):
        value = [{"name": "default", "template": value}]
    entries = [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    named = ((entry.get("name"), entry.get("template")) for entry in entries)
    return {name: text for name, text in named if isinstance(name, str) and isinstance(text, str) and text.strip()}


def gguf_templates(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates in the metadata of a GGUF file: `tokenizer.chat_template`, `….NAME` for named ones."""
    key = "tokenizer.chat_template"
    found = {"default": metadata.get(key)}
    found |= {each.removeprefix(f"{key}."): text for each, text in metadata.items() if each.startswith(f"{key}.")}
    return {name: text for name, text in found.items() if isinstance(text, str) and text.strip()}


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 for a dangling or circular link, a folder, a pipe or a device."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _versions(folder: Path, files: Iterable[File]) -> dict[str, FileStamp | tuple[()]]:
    """Return the stamp of each file, () for one that is gone."""
    found: dict[str, FileStamp | tuple[()]] = {}
    for file in files:
        try:
            status = (folder / file.name).stat()
        except OSError:
            found[file.name] = ()
        else:
            found[file.name] = file_stamp(status)
    return found


def _siblings(path: Path) -> list[Path]:
    """Return the GGUF files in the folder of `path`; only itself if that cannot be read."""
    try:
        entries = folder_entries(str(path.parent), MOST_FILES)
    except OSError as error:
        raise_system_limit(error)
        return [path]
    return [path.with_name(entry.name) for entry in entries if entry.name.endswith(".gguf")]


def _files_below(folder: str) -> Iterator[File]:
    """Yield the files below `folder`.

    Links to files are followed (a snapshot consists of them), links to folders are not (they may be circular). An
    unreadable folder has no files; health reports it.
    """
    try:
        for name, entry in walk(folder):
            try:
                status = entry.stat()
            except OSError:  # a dangling or circular link
                yield File(name, 0)
            else:
                if not stat.S_ISDIR(status.st_mode):
                    # A pipe or a device has nothing to read; it is listed for health to report.
                    yield File(name, status.st_size if stat.S_ISREG(status.st_mode) else 0)
    except OSError as error:
        raise_system_limit(error)
