"""Integrity: whether the files of a model are complete and readable, regardless of what can run them."""

from __future__ import annotations

import errno
import json
import os
import stat
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mlxk_core._errors import BrokenModel
from mlxk_core._models import gguf, safetensors
from mlxk_core._models.cache import Repository
from mlxk_core._models.files import parse_shard, read_small_file, regular_file, weight_format
from mlxk_core._models.model import File, Model
from mlxk_core._models.variants import is_companion
from mlxk_core._text.units import human_size

State = Literal["healthy", "unfinished", "damaged"]

_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_JSON = 32 << 20  # bytes
_LONGEST_POINTER = 1024  # by git-lfs' specification
_PARTIAL = (".incomplete", ".partial", ".part", ".tmp", ".crdownload", ".aria2")
_TOKENIZERS = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "tokenizer.model.v3"),
    *(".model", ".tiktoken", ".spm"),
)
# Tokenizers of bytes or characters, without a vocabulary.
_WITHOUT_VOCABULARY = frozenset({"ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer"})
# Descriptions other than config.json: a pipeline of several models, an adapter.
_OTHER_CONFIGS = frozenset({"model_index.json", "adapter_config.json"})
# Problems that do not count for a model whose weights only a backend knows: it may be complete without these files.
_ONLY_WITH_KNOWN_WEIGHTS = frozenset({"no_weights_found", "config_missing", "tokenizer_missing"})
# Problems of files that are absent, not damaged: a download that has not finished.
_ABSENT_FILES = frozenset(
    {
        *("download_unfinished", "snapshot_missing", "no_weights_found", "missing_shard", "index_missing_shard"),
        *("config_missing", "tokenizer_missing"),
    }
)
# Classes of transformers that read and write text.
_TEXT_CLASSES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a file: `code` for programs, `message` a sentence, `file` its name."""

    code: str
    message: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The problems of a model's files, the most informative first.

    `unfinished`: files from the hub are only absent, so a pull completes the model.
    """

    problems: tuple[Problem, ...] = ()
    unfinished: bool = False

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def reason(self) -> str | None:
        """The first problem's sentence, None for a healthy model."""
        return self.problems[0].message if self.problems else None

    @property
    def incomplete(self) -> bool:
        """Whether files are missing: a download is unfinished, or links are broken."""
        return self.unfinished or any(problem.code == "dangling_link" for problem in self.problems)

    @property
    def state(self) -> State:
        return "healthy" if self.healthy else "unfinished" if self.unfinished else "damaged"

    @property
    def once_accepted(self) -> Health:
        """The health of a model that a backend accepts.

        Weights in no known format are in one that only the backend knows: nothing counts as missing then, but files may
        still be damaged.
        """
        if all(problem.code != "no_weights_found" for problem in self.problems):
            return self
        left = tuple(problem for problem in self.problems if problem.code not in _ONLY_WITH_KNOWN_WEIGHTS)
        return Health(left, unfinished=self.unfinished and bool(left))


def check_health(model: Model, *, left_out: Callable[[str], bool] = lambda name: False) -> Health:
    """Check every file's name, size and header, never the weights.

    If the model has a GGUF variant, the others of its repository do not count. Files for which `left_out(name)` is true
    count as absent.
    """
    manifest = _Manifest(model, left_out)
    found = [problem for each in CHECKS for problem in each(manifest)]
    # One problem per file: an LFS pointer is also invalid JSON, a dangling link is also empty.
    first: dict[object, Problem] = {}
    for problem in found:
        first.setdefault(problem.file or problem, problem)
    problems = tuple(first.values())
    if model.origin != "hub" or not problems or any(problem.code not in _ABSENT_FILES for problem in problems):
        return Health(problems)
    hint = f"{problems[0].message} Unfinished download: run `mlxk pull {_pullable(model)}`."
    return Health((replace(problems[0], message=hint), *problems[1:]), unfinished=True)


def partial_downloads(model: Model) -> tuple[int, ...]:
    """Return the sizes in bytes of the partially downloaded files of `model`'s repository."""
    return Repository(model.name, model.path.parent.parent).partial_downloads() if model.origin == "hub" else ()


class _Manifest:
    """The files of a model, with facts that several checks use."""

    def __init__(self, model: Model, left_out: Callable[[str], bool]) -> None:
        self.model = model
        self.folder = model.path if model.path.is_dir() else model.path.parent
        self.files = tuple(file for file in self._of_variant(model) if not left_out(file.name))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(file.name for file in self.files)

    @cached_property
    def weights(self) -> tuple[File, ...]:
        """The files with weights, without companions such as an image encoder."""
        return tuple(file for file in self.files if weight_format(file.name) and not is_companion(file.name))

    @cached_property
    def only_gguf(self) -> bool:
        """Whether all weights are GGUF files, which contain config and tokenizer."""
        return bool(self.weights) and all(weight_format(file.name) == "gguf" for file in self.weights)

    @cached_property
    def indexes(self) -> Mapping[str, Mapping[str, Any] | None]:
        """The weight maps of the index files by file name; None for an unreadable one."""
        found: dict[str, Mapping[str, Any] | None] = {}
        for file in self.files:
            if file.name.endswith((".safetensors.index.json", ".bin.index.json")):
                value = self.json(file.name)
                found[file.name] = value.get("weight_map") if isinstance(value, dict) else None
                if not isinstance(found[file.name], dict):
                    found[file.name] = None
        return found

    def shards(self, index: str) -> tuple[str, ...]:
        """Return the files that an index names."""
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
        """Return the value of a JSON file, None if it cannot be read."""
        try:
            return json.loads(read_small_file(self.path(name), _LARGEST_JSON))
        except (OSError, ValueError, RecursionError):
            return None

    def expected_size(self, name: str) -> int:
        """Return the minimum size of a weight file in bytes, by its header. Raises `BrokenModel`."""
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


def _snapshot(manifest: _Manifest) -> Iterator[Problem]:
    if manifest.model.path.exists():
        return
    if sizes := partial_downloads(manifest.model):
        yield Problem("download_unfinished", f"{human_size(sum(sizes))} downloaded so far.")
    else:
        yield Problem("snapshot_missing", "The files of this revision are missing.")


def _links(manifest: _Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if file.size:
            continue
        if _gone(manifest.path(file.name)):
            target = _link_target(manifest.path(file.name))
            yield Problem("dangling_link", f"{file.name} is a link to {target}, which does not exist.", file.name)
        elif _special(manifest.path(file.name)):
            yield Problem("unreadable_file", f"{file.name} is a pipe, a socket or a device, not a file.", file.name)


def _permissions(manifest: _Manifest) -> Iterator[Problem]:
    if manifest.model.path.is_dir() and not os.access(manifest.model.path, os.R_OK | os.X_OK):
        yield Problem(
            "unreadable_file",
            f"Permission denied: cannot read the folder {manifest.model.path}.",
            str(manifest.model.path),
        )
    for file in manifest.files:
        if not os.access(manifest.path(file.name), os.R_OK):
            yield Problem("unreadable_file", f"Permission denied: cannot read {file.name}.", file.name)


def _partial(manifest: _Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if file.name.lower().endswith(_PARTIAL):
            yield Problem("partial_marker", f"{file.name} is left over from an interrupted download.", file.name)


def _pointers(manifest: _Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if len(_POINTER) < file.size < _LONGEST_POINTER and manifest.head(file.name, len(_POINTER)) == _POINTER:
            yield Problem("lfs_pointer_detected", f"{file.name} is a Git LFS pointer, not the file itself.", file.name)


def _config(manifest: _Manifest) -> Iterator[Problem]:
    if not manifest.model.path.is_dir() or (manifest.only_gguf and "config.json" not in manifest.names):
        return
    if "config.json" not in manifest.names:
        if not manifest.names & _OTHER_CONFIGS:
            yield Problem("config_missing", "config.json is missing.", "config.json")
        return
    value = manifest.json("config.json")
    if value is None:
        yield Problem("config_invalid_json", "config.json is not valid JSON.", "config.json")
    elif not isinstance(value, dict) or not value:
        yield Problem("config_invalid_json", "config.json is not a JSON object, or is empty.", "config.json")


def _indexes(manifest: _Manifest) -> Iterator[Problem]:
    for index, weight_map in manifest.indexes.items():
        if weight_map is None:
            yield Problem("index_parse_error", f"{index} is not valid JSON with a weight_map.", index)
            continue
        missing = [name for name in manifest.shards(index) if name not in manifest.names]
        # An index without any of its files belongs to weights that were not downloaded, if there are others.
        if missing and (len(missing) < len(manifest.shards(index)) or not manifest.weights):
            yield Problem("index_missing_shard", f"{_listed(missing)}, named in {index}.", index)


def _shards(manifest: _Manifest) -> Iterator[Problem]:
    indexed = {name for index in manifest.indexes for name in manifest.shards(index)}
    sets: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for file in manifest.weights:
        shard = parse_shard(file.name)
        if shard.total > 1 and file.name not in indexed:
            sets[shard.stem, shard.total, PurePosixPath(file.name).suffix].add(shard.number)
    for (stem, total, suffix), numbers in sorted(sets.items()):
        missing = [
            f"{stem}-{number:05}-of-{total:05}{suffix}" for number in range(1, total + 1) if number not in numbers
        ]
        if missing:
            yield Problem("missing_shard", f"{_listed(missing)}.", missing[0])


def _weights(manifest: _Manifest) -> Iterator[Problem]:
    if not manifest.weights and not manifest.indexes and manifest.model.path.exists():
        yield Problem("no_weights_found", "No weight files.")


def _whole(manifest: _Manifest) -> Iterator[Problem]:
    for file in manifest.weights:
        if file.size == 0:
            yield Problem("empty_weight_file", f"{file.name} is empty.", file.name)
            continue
        try:
            expected = manifest.expected_size(file.name)
        except BrokenModel as error:
            # A file that ends too soon has a code of its own.
            code = "truncated_weight_file" if "cut off" in str(error) else "damaged_weight_header"
            yield Problem(code, f"{error}.", file.name)
            continue
        if file.size < expected:
            yield Problem(
                "truncated_weight_file",
                f"{file.name} is cut off: it has {file.size:,} bytes, its header declares {expected:,}.",
                file.name,
            )


def _tokenizer(manifest: _Manifest) -> Iterator[Problem]:
    if "tokenizer.json" in manifest.names and not _looks_like_json(manifest.path("tokenizer.json")):
        yield Problem("tokenizer_invalid_json", "tokenizer.json is cut off or is not JSON.", "tokenizer.json")
    if manifest.only_gguf or any(name.endswith(_TOKENIZERS) for name in manifest.names if "/" not in name):
        return
    config, own = manifest.json("config.json"), manifest.json("tokenizer_config.json")
    if isinstance(own, dict) and str(own.get("tokenizer_class")) in _WITHOUT_VOCABULARY:
        return
    classes = config.get("architectures") if isinstance(config, dict) else None
    writes_text = isinstance(classes, list) and any(str(each).endswith(_TEXT_CLASSES) for each in classes)
    if writes_text or "tokenizer_config.json" in manifest.names:
        yield Problem("tokenizer_missing", "The tokenizer is missing (tokenizer.json or similar).", "tokenizer.json")


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
"""Every check, the most informative first."""


def _archive_size(path: Path) -> int:
    """Return 0, since a zip archive (PyTorch, NumPy) declares no size. Raises `BrokenModel` if its end is cut off."""
    try:
        with regular_file(path).open("rb") as file:
            archive = file.read(4) == b"PK\x03\x04"
        if archive and not zipfile.is_zipfile(path):
            raise BrokenModel(f"{path.name} is cut off: its list of contents is missing", file=path.name)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error}", file=path.name) from error
    return 0


def _gone(path: Path) -> bool:
    """Return whether a listed file does not exist: a dangling link."""
    try:
        path.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ELOOP)
    return False


def _link_target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return "a file"


def _pullable(model: Model) -> str:
    """Return the reference that a pull needs to complete the model."""
    return f"{model.name}:{model.variant}" if model.variant else model.name


def _special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _looks_like_json(path: Path) -> bool:
    """Check the first and last characters only; the file may have 20 MB."""
    try:
        with regular_file(path).open("rb") as file:
            head = file.read(64)
            file.seek(max(0, path.stat().st_size - 64))
            return head.lstrip().startswith(b"{") and file.read().rstrip().endswith(b"}")
    except OSError:
        return False


def _listed(missing: list[str]) -> str:
    """Return `a is missing`, or `a, b and 3 more are missing`."""
    if len(missing) == 1:
        return f"{missing[0]} is missing"
    shown = ", ".join(missing[:2]) if len(missing) > 2 else " and ".join(missing)
    return f"{shown}{f' and {len(missing) - 2} more' if len(missing) > 2 else ''} are missing"
