"""Integrity: whether a model's files are all there, whole and readable. What can run them is another question."""

from __future__ import annotations

import errno
import json
import os
import stat
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mlxk_core._errors import BrokenModel
from mlxk_core._models import gguf, safetensors
from mlxk_core._models.cache import Repository
from mlxk_core._models.files import parse_shard, read_small_file, regular_file, weight_format
from mlxk_core._models.model import File, Model
from mlxk_core._models.variants import is_companion

_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_JSON = 32 << 20  # bytes
_LONGEST_POINTER = 1024  # by git-lfs' specification
_PARTIAL = (".incomplete", ".partial", ".part", ".tmp", ".crdownload", ".aria2")
_TOKENIZERS = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "tokenizer.model.v3"),
    *(".model", ".tiktoken", ".spm"),
)
# They read bytes or characters and need no vocabulary.
_WITHOUT_VOCABULARY = frozenset({"ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer"})
# Folders with another description than config.json: a pipeline of several models, an adapter.
_OTHER_CONFIGS = frozenset({"model_index.json", "adapter_config.json"})
# What a model has beside weights of a form that is known here. Where there are none of these, it may be complete.
_BESIDE_KNOWN_WEIGHTS = frozenset({"no_weights_found", "config_missing", "tokenizer_missing"})
# Classes of transformers that read and write text.
_TEXT_CLASSES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `code` for programs, `message` a whole sentence, `file` the one to look at."""

    code: str
    message: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with a model's files, the most telling first."""

    problems: tuple[Problem, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def reason(self) -> str | None:
        """The first problem's sentence, None for a healthy model."""
        return self.problems[0].message if self.problems else None

    @property
    def once_accepted(self) -> Health:
        """The same for a model that a backend accepts. One without weights of a form that is known here has a form that
        only the backend knows: nothing is missing then, and what is there may still be damaged."""
        if all(problem.code != "no_weights_found" for problem in self.problems):
            return self
        return Health(tuple(problem for problem in self.problems if problem.code not in _BESIDE_KNOWN_WEIGHTS))


def check_health(model: Model, *, left_out: Callable[[str], bool] = lambda name: False) -> Health:
    """Looks at every file's name, size and header, never at the weights. A GGUF variant that was asked for is judged
    alone, without the others of its repository. Files that are `left_out` by name count as not there."""
    manifest = _Manifest(model, left_out)
    found = [problem for each in CHECKS for problem in each(manifest)]
    # A file with two problems is told about once: a pointer is no broken JSON besides, a dangling link is not empty.
    first: dict[object, Problem] = {}
    for problem in found:
        first.setdefault(problem.file or problem, problem)
    return Health(tuple(first.values()))


def partial_downloads(model: Model) -> tuple[int, ...]:
    """The bytes of every part that a download of `model`'s repository has begun and not finished."""
    return Repository(model.name, model.path.parent.parent).parts() if model.origin == "hub" else ()


class _Manifest:
    """The files of a model, and what several checks ask about them."""

    def __init__(self, model: Model, left_out: Callable[[str], bool]) -> None:
        self.model = model
        self.folder = model.path if model.path.is_dir() else model.path.parent
        self.files = tuple(file for file in self._of_variant(model) if not left_out(file.name))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(file.name for file in self.files)

    @cached_property
    def weights(self) -> tuple[File, ...]:
        """The files that hold weights, but not what belongs to a GGUF model without being one."""
        return tuple(file for file in self.files if weight_format(file.name) and not is_companion(file.name))

    @cached_property
    def only_gguf(self) -> bool:
        """A GGUF file carries its own config and tokenizer."""
        return bool(self.weights) and all(weight_format(file.name) == "gguf" for file in self.weights)

    @cached_property
    def indexes(self) -> Mapping[str, Mapping[str, Any] | None]:
        """The weight maps of the index files that count, by file name; None for one that cannot be read."""
        found: dict[str, Mapping[str, Any] | None] = {}
        for file in self.files:
            if file.name.endswith((".safetensors.index.json", ".bin.index.json")):
                value = self.json(file.name)
                found[file.name] = value.get("weight_map") if isinstance(value, dict) else None
                if not isinstance(found[file.name], dict):
                    found[file.name] = None
        return found

    def shards(self, index: str) -> tuple[str, ...]:
        """The files an index names."""
        folder = PurePosixPath(index).parent
        named = {value for value in (self.indexes[index] or {}).values() if isinstance(value, str)}
        return tuple(sorted((folder / value).as_posix() for value in named))

    def path(self, name: str) -> Path:
        return self.folder / name

    def head(self, name: str, length: int) -> bytes:
        try:
            with regular_file(self.path(name)).open("rb") as file:
                return file.read(length)
        except OSError:
            return b""

    def json(self, name: str) -> Any:
        """The value in a JSON file, None if there is none to be had."""
        try:
            return json.loads(read_small_file(self.path(name), _LARGEST_JSON))
        except (OSError, ValueError, RecursionError):
            return None

    def expected_size(self, name: str) -> int:
        """The bytes that file of weights has at least, by what it says of itself. Raises `BrokenModel`."""
        match weight_format(name):
            case "safetensors":
                header = self.model.weights.headers.get(name) or safetensors.read_safetensors_header(self.path(name))
                return header.length
            case "gguf":
                path = self.path(name)
                header_of_model = self.model.gguf if path == self.model.gguf_path else None
                return (header_of_model or gguf.read_gguf_header(path)).file_size
        return _archive_size(self.path(name))

    @staticmethod
    def _of_variant(model: Model) -> tuple[File, ...]:
        chosen = model.gguf_variant
        if model.variant is None or chosen is None:
            return model.files
        return tuple(file for file in model.files if not weight_format(file.name) or file.name in chosen.files)


def _snapshot(here: _Manifest) -> Iterator[Problem]:
    if here.model.path.exists():
        return
    if parts := partial_downloads(here.model):
        yield Problem(
            "download_unfinished",
            f"Its download has not finished ({sum(parts):,} bytes are here): `mlxk pull {here.model.name}` gets it, "
            f"`mlxk rm {here.model.name}` clears the rest away.",
        )
    else:
        yield Problem("snapshot_missing", "The files of this revision are not on this machine.")


def _links(here: _Manifest) -> Iterator[Problem]:
    for file in here.files:
        if file.size:
            continue
        if _gone(here.path(file.name)):
            yield Problem("dangling_link", f"{file.name} links to a file that is gone.", file.name)
        elif _special(here.path(file.name)):
            yield Problem("unreadable_file", f"{file.name} is a pipe, a socket or a device, not a file.", file.name)


def _permissions(here: _Manifest) -> Iterator[Problem]:
    if here.model.path.is_dir() and not os.access(here.model.path, os.R_OK | os.X_OK):
        yield Problem("unreadable_file", f"The folder {here.model.path} may not be read.", str(here.model.path))
    for file in here.files:
        if not os.access(here.path(file.name), os.R_OK):
            yield Problem("unreadable_file", f"{file.name} may not be read.", file.name)


def _partial(here: _Manifest) -> Iterator[Problem]:
    for file in here.files:
        if file.name.lower().endswith(_PARTIAL):
            yield Problem("partial_marker", f"{file.name} is left over from a download that did not finish.", file.name)


def _pointers(here: _Manifest) -> Iterator[Problem]:
    for file in here.files:
        if len(_POINTER) < file.size < _LONGEST_POINTER and here.head(file.name, len(_POINTER)) == _POINTER:
            yield Problem(
                "lfs_pointer_detected", f"{file.name} is a Git LFS pointer, not the file it stands for.", file.name
            )


def _config(here: _Manifest) -> Iterator[Problem]:
    if not here.model.path.is_dir() or (here.only_gguf and "config.json" not in here.names):
        return
    if "config.json" not in here.names:
        if not here.names & _OTHER_CONFIGS:
            yield Problem("config_missing", "config.json is missing.", "config.json")
        return
    value = here.json("config.json")
    if value is None:
        yield Problem("config_invalid_json", "config.json is not valid JSON.", "config.json")
    elif not isinstance(value, dict) or not value:
        yield Problem("config_invalid_json", "config.json holds no JSON object, or an empty one.", "config.json")


def _indexes(here: _Manifest) -> Iterator[Problem]:
    for index, weight_map in here.indexes.items():
        if weight_map is None:
            yield Problem("index_parse_error", f"{index} is not valid JSON with a weight_map.", index)
            continue
        missing = [name for name in here.shards(index) if name not in here.names]
        # An index none of whose files is here belongs to weights nobody wanted, if there are others.
        if missing and (len(missing) < len(here.shards(index)) or not here.weights):
            yield Problem("index_missing_shard", f"{_listed(missing)}, named in {index}.", index)


def _shards(here: _Manifest) -> Iterator[Problem]:
    indexed = {name for index in here.indexes for name in here.shards(index)}
    sets: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for file in here.weights:
        whole, number, total = parse_shard(file.name)
        if total > 1 and file.name not in indexed:
            sets[whole, total, PurePosixPath(file.name).suffix].add(number)
    for (whole, total, suffix), numbers in sorted(sets.items()):
        missing = [
            f"{whole}-{number:05}-of-{total:05}{suffix}" for number in range(1, total + 1) if number not in numbers
        ]
        if missing:
            yield Problem("missing_shard", f"{_listed(missing)}.", missing[0])


def _weights(here: _Manifest) -> Iterator[Problem]:
    if not here.weights and not here.indexes and here.model.path.exists():
        yield Problem("no_weights_found", "There is no file with weights.")


def _whole(here: _Manifest) -> Iterator[Problem]:
    for file in here.weights:
        if file.size == 0:
            yield Problem("empty_weight_file", f"{file.name} is empty.", file.name)
            continue
        try:
            expected = here.expected_size(file.name)
        except BrokenModel as error:
            # The readers say what they found; that the file ends too soon is the one worth a code of its own.
            code = "truncated_weight_file" if "cut off" in str(error) else "damaged_weight_header"
            yield Problem(code, f"{error}.", file.name)
            continue
        if file.size < expected:
            yield Problem(
                "truncated_weight_file",
                f"{file.name} is cut off: it has {file.size:,} bytes, and its header speaks of {expected:,}.",
                file.name,
            )


def _tokenizer(here: _Manifest) -> Iterator[Problem]:
    if "tokenizer.json" in here.names and not _looks_like_json(here.path("tokenizer.json")):
        yield Problem("tokenizer_invalid_json", "tokenizer.json is cut off or is not JSON.", "tokenizer.json")
    if here.only_gguf or any(name.endswith(_TOKENIZERS) for name in here.names if "/" not in name):
        return
    config, own = here.json("config.json"), here.json("tokenizer_config.json")
    if isinstance(own, dict) and str(own.get("tokenizer_class")) in _WITHOUT_VOCABULARY:
        return
    classes = config.get("architectures") if isinstance(config, dict) else None
    writes_text = isinstance(classes, list) and any(str(each).endswith(_TEXT_CLASSES) for each in classes)
    if writes_text or "tokenizer_config.json" in here.names:
        yield Problem(
            "tokenizer_missing", "The tokenizer is missing: there is no tokenizer.json or the like.", "tokenizer.json"
        )


CHECKS: tuple[Callable[[_Manifest], Iterator[Problem]], ...] = (
    _snapshot,
    _links,
    _permissions,
    _partial,
    _pointers,
    _config,
    _indexes,
    _shards,
    _weights,
    _whole,
    _tokenizer,
)
"""Every check, the most telling first."""


def _archive_size(path: Path) -> int:
    """PyTorch and NumPy write zip archives: what is cut off is the list of contents at the end, so there is no size."""
    try:
        with regular_file(path).open("rb") as file:
            archive = file.read(4) == b"PK\x03\x04"
        if archive and not zipfile.is_zipfile(path):
            raise BrokenModel(f"{path.name} is cut off: its list of contents is missing", file=path.name)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error}", file=path.name) from error
    return 0


def _gone(path: Path) -> bool:
    """A file that its folder lists is not there: a link leads nowhere."""
    try:
        path.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ELOOP)
    return False


def _special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _looks_like_json(path: Path) -> bool:
    """The first and last characters of what may be 20 MB."""
    try:
        with regular_file(path).open("rb") as file:
            head = file.read(64)
            file.seek(max(0, path.stat().st_size - 64))
            return head.lstrip().startswith(b"{") and file.read().rstrip().endswith(b"}")
    except OSError:
        return False


def _listed(missing: list[str]) -> str:
    """`a is missing`, `a, b and 3 more are missing`."""
    if len(missing) == 1:
        return f"{missing[0]} is missing"
    shown = ", ".join(missing[:2]) if len(missing) > 2 else " and ".join(missing)
    return f"{shown}{f' and {len(missing) - 2} more' if len(missing) > 2 else ''} are missing"
