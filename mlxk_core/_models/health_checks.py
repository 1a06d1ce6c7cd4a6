"""The checks of a model's files: each yields the problems of one kind."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from mlxk_core._errors import BrokenModel
from mlxk_core._models.cache import Repository
from mlxk_core._models.files import CutOff, open_file, parse_shard
from mlxk_core._models.folder_walk import MOST_FILES
from mlxk_core._models.manifest import Manifest
from mlxk_core._models.model import Model
from mlxk_core._text.units import human_size

_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_NAMES = 2  # of missing shards in a message; a name may declare 99,999
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
# Classes of transformers that read and write text.
_TEXT_CLASSES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM")


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a file: `code` for programs, `message` a sentence, `file` its name."""

    code: str
    message: str
    file: str | None = None


def partial_downloads(model: Model) -> tuple[int, ...]:
    """Return the sizes in bytes of the partially downloaded files of `model`'s repository."""
    return Repository(model.name, model.path.parent.parent).partial_downloads() if model.origin == "hub" else ()


def _snapshot(manifest: Manifest) -> Iterator[Problem]:
    if manifest.model.path.exists():
        return
    if sizes := partial_downloads(manifest.model):
        yield Problem("download_unfinished", f"{human_size(sum(sizes))} downloaded so far.")
    else:
        yield Problem("snapshot_missing", "The files of this revision are missing.")


def _count(manifest: Manifest) -> Iterator[Problem]:
    if len(manifest.model.files) > MOST_FILES:
        yield Problem("too_many_files", f"It has over {MOST_FILES:,} files.")


def _links(manifest: Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if file.size:
            continue
        if _gone(manifest.path(file.name)):
            target = _link_target(manifest.path(file.name))
            yield Problem("dangling_link", f"{file.name} is a link to {target}, which does not exist.", file.name)
        elif _special(manifest.path(file.name)):
            yield Problem("unreadable_file", f"{file.name} is a pipe, a socket or a device, not a file.", file.name)


def _permissions(manifest: Manifest) -> Iterator[Problem]:
    if manifest.model.path.is_dir() and not os.access(manifest.model.path, os.R_OK | os.X_OK):
        yield Problem(
            "unreadable_file",
            f"Permission denied: cannot read the folder {manifest.model.path}.",
            str(manifest.model.path),
        )
    for file in manifest.files:
        if not os.access(manifest.path(file.name), os.R_OK):
            yield Problem("unreadable_file", f"Permission denied: cannot read {file.name}.", file.name)


def _partial(manifest: Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if file.name.lower().endswith(_PARTIAL):
            yield Problem("partial_marker", f"{file.name} is left over from an interrupted download.", file.name)


def _pointers(manifest: Manifest) -> Iterator[Problem]:
    for file in manifest.files:
        if len(_POINTER) < file.size < _LONGEST_POINTER and manifest.head(file.name, len(_POINTER)) == _POINTER:
            yield Problem("lfs_pointer_detected", f"{file.name} is a Git LFS pointer, not the file itself.", file.name)


def _config(manifest: Manifest) -> Iterator[Problem]:
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


def _generation_config(manifest: Manifest) -> Iterator[Problem]:
    name = "generation_config.json"
    if name in manifest.names and not isinstance(manifest.json(name), dict):
        yield Problem("generation_config_invalid_json", f"{name} is not a JSON object.", name)


def _indexes(manifest: Manifest) -> Iterator[Problem]:
    for index, shards in manifest.indexes.items():
        if isinstance(shards, str):
            yield Problem("index_parse_error", f"{index} {shards}.", index)
            continue
        missing = [name for name in shards if name not in manifest.names]
        # An index without any of its files belongs to weights that were not downloaded, if there are others.
        if missing and (len(missing) < len(shards) or not manifest.weights):
            yield Problem("index_missing_shard", f"{_list_names(missing, len(missing))}, named in {index}.", index)


def _shards(manifest: Manifest) -> Iterator[Problem]:
    indexed = {name for shards in manifest.indexes.values() if not isinstance(shards, str) for name in shards}
    sets: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for file in manifest.weights:
        shard = parse_shard(file.name)
        if shard.total > 1 and file.name not in indexed:
            sets[shard.stem, shard.total, PurePosixPath(file.name).suffix].add(shard.number)
    for (stem, total, suffix), numbers in sorted(sets.items()):
        absent = (number for number in range(1, total + 1) if number not in numbers)
        names = [f"{stem}-{number:05}-of-{total:05}{suffix}" for number in islice(absent, _MOST_NAMES)]
        if names:
            count = total - sum(1 <= number <= total for number in numbers)
            yield Problem("missing_shard", f"{_list_names(names, count)}.", names[0])


def _weights(manifest: Manifest) -> Iterator[Problem]:
    if not manifest.weights and not manifest.indexes and manifest.model.path.exists():
        yield Problem("no_weights_found", "No weight files.")


def _whole(manifest: Manifest) -> Iterator[Problem]:
    for file in manifest.weights:
        if file.size == 0:
            yield Problem("empty_weight_file", f"{file.name} is empty.", file.name)
            continue
        try:
            expected = manifest.expected_size(file.name)
        except BrokenModel as error:
            code = "truncated_weight_file" if isinstance(error.__cause__, CutOff) else "damaged_weight_header"
            yield Problem(code, f"{error}.", file.name)
            continue
        if file.size < expected:
            yield Problem(
                "truncated_weight_file",
                f"{file.name} is cut off: it has {file.size:,} bytes, its header declares {expected:,}.",
                file.name,
            )


def _tokenizer(manifest: Manifest) -> Iterator[Problem]:
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


CHECKS: tuple[Callable[[Manifest], Iterator[Problem]], ...] = (
    _snapshot,
    _count,
    _links,
    _permissions,
    _partial,
    _pointers,
    _config,
    _generation_config,
    _indexes,
    _shards,
    _weights,
    _whole,
    _tokenizer,
)
"""Every check, the most informative first."""


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


def _special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _looks_like_json(path: Path) -> bool:
    """Check the first and last characters only; the file may have 20 MB."""
    try:
        with open_file(path) as file:
            head = file.read(64)
            file.seek(max(0, path.stat().st_size - 64))
            return head.lstrip().startswith(b"{") and file.read().rstrip().endswith(b"}")
    except OSError:
        return False


def _list_names(missing: list[str], count: int) -> str:
    """Return `a is missing`, or `a, b and 3 more are missing`: `count` in all, the first of which are in `missing`."""
    if count == 1:
        return f"{missing[0]} is missing"
    shown = ", ".join(missing[:2]) if count > 2 else " and ".join(missing)
    return f"{shown}{f' and {count - 2} more' if count > 2 else ''} are missing"
