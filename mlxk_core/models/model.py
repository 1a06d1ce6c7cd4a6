"""One resolved model: where its files are, and what they say, read when asked for and never executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from mlxk_core.errors import BrokenModel
from mlxk_core.models.gguf import GGUFHeader, read_header
from mlxk_core.models.weights import Weights, read_weights

Origin = Literal["hub", "path", "source"]
_EMPTY: Mapping[str, Any] = MappingProxyType({})


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
    """A model on this machine, resolved once and passed on as this.

    `name` is what lists show (`org/name`, a source's name, or a folder's name); `path` its folder, or a single
    `.gguf` file. `revision` is the hub's commit, None elsewhere. `variant` is the GGUF variant that was asked for.
    `defaults` come before the model's own `generation_config.json` (a source knows its model best).
    Reading a file that is not there gives an empty value; one that is damaged raises `BrokenModel`.
    """

    name: str
    path: Path
    origin: Origin = "path"
    revision: str | None = None
    source: str | None = None
    variant: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def files(self) -> tuple[File, ...]:
        """Every file, sorted by name; just itself for a single file. Hidden ones are left out, a dangling link has size 0."""
        if not self.path.is_dir():
            return (File(self.path.name, self.path.stat().st_size),) if self.path.exists() else ()
        found = []
        for path in self.path.rglob("*"):
            relative = path.relative_to(self.path)
            if any(part.startswith(".") for part in relative.parts) or path.is_dir():
                continue
            found.append(File(relative.as_posix(), path.stat().st_size if path.exists() else 0))
        return tuple(sorted(found, key=lambda file: file.name))

    @property
    def size(self) -> int:
        """Bytes on disk, all files together."""
        return sum(file.size for file in self.files)

    @property
    def gguf_path(self) -> Path | None:
        """The GGUF file to run: this model's own, or (in a folder) the first shard of the chosen or only variant."""
        if self.path.suffix.lower() == ".gguf":
            return self.path
        return None

    @cached_property
    def gguf(self) -> GGUFHeader | None:
        """The header of `gguf_path`, or None for a model in another form."""
        return read_header(self.gguf_path) if self.gguf_path else None

    @cached_property
    def weights(self) -> Weights:
        """The safetensors weights as their headers list them (empty without any); damaged files are named in it."""
        return read_weights(self)

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
    def chat_template(self) -> str | None:
        """The Jinja text, from the first place that has one: its own file, the tokenizer's config, the GGUF header."""
        if self.path.is_dir():
            jinja = self.path / "chat_template.jinja"
            if jinja.is_file():
                return self._text("chat_template.jinja")
        for holder in (self._json("chat_template.json"), self.tokenizer_config):
            template = holder.get("chat_template")
            if isinstance(template, str):
                return template
            if isinstance(template, list):
                named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
                chosen = named.get("default") or next((t for t in named.values() if t), None)
                if isinstance(chosen, str):
                    return chosen
        if self.gguf:
            template = self.gguf.metadata.get("tokenizer.chat_template")
            return template if isinstance(template, str) else None
        return None

    @cached_property
    def added_tokens(self) -> Mapping[str, AddedToken]:
        """The added tokens by their text, from `tokenizer.json`, `tokenizer_config.json` or the GGUF header."""
        if self.gguf:
            return {t.text: t for t in (AddedToken(*entry) for entry in self.gguf.added_tokens())}
        found: dict[str, AddedToken] = {}
        for key, entry in (self.tokenizer_config.get("added_tokens_decoder") or {}).items():
            if isinstance(entry, dict) and str(key).isdigit() and isinstance(entry.get("content"), str):
                found[entry["content"]] = AddedToken(int(key), entry["content"], bool(entry.get("special")))
        for entry in self._json("tokenizer.json").get("added_tokens") or ():
            if isinstance(entry, dict) and isinstance(entry.get("content"), str) and isinstance(entry.get("id"), int):
                found[entry["content"]] = AddedToken(entry["id"], entry["content"], bool(entry.get("special")))
        return found

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenModel(f"{name} of `{self.name}` cannot be read: {error}", model=self.name, file=name) from error

    def _json(self, name: str) -> Mapping[str, Any]:
        path = self.path / name
        if not self.path.is_dir() or not path.is_file():
            return _EMPTY
        try:
            value = json.loads(self._text(name))
        except ValueError as error:
            raise BrokenModel(f"{name} of `{self.name}` is not JSON: {error}", model=self.name, file=name) from error
        if not isinstance(value, dict):
            raise BrokenModel(f"{name} of `{self.name}` holds no JSON object.", model=self.name, file=name)
        return value
