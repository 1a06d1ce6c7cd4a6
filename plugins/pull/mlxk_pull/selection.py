"""Selection of the files of a repository that make up a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from mlxk_core.api.errors import AmbiguousModel, BrokenModel, Kind, ModelError, ModelNotFound
from mlxk_core.api.models import Variant, gguf_variants, parse_shard, weight_format
from mlxk_hub.client import RemoteFile

# Config, tokenizer, chat template and license. Never *.py: code of a repository is never run.
_COMPANIONS = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "README.md",
    "LICENSE*",
    "NOTICE*",
    "additional_chat_templates/*.jinja",
    "[0-9]_*/config.json",  # sentence-transformers' description of an embedding model
)


class NoWeights(ModelError):
    """None of the selected files contain weights."""

    kind = Kind("no_weights", 1, 404)


@dataclass(frozen=True, slots=True)
class Filter:
    """Patterns of files: `include` replaces the default selection, `exclude` removes from it.

    Shell patterns on the whole path, where `*` also matches `/`, as in `hf download`.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    @property
    def is_default(self) -> bool:
        return not self.include and not self.exclude


@dataclass(frozen=True, slots=True)
class Selection:
    files: tuple[RemoteFile, ...]
    variant: str | None = None


def select(repository: str, files: Iterable[RemoteFile], filter: Filter, variant: str | None) -> Selection:
    """Return the files to download: the MLX or safetensors weights, or one GGUF variant, with their companions.

    Raises `ModelNotFound` for an unknown variant, `AmbiguousModel` if one must be chosen, `NoWeights`, and
    `BrokenModel` if shards are missing.
    """
    all_files = tuple(files)
    if filter.include:
        chosen, variant = _include(repository, all_files, filter.include, variant), variant
    else:
        weights, variant = _weights(repository, all_files, variant)
        wanted = set(weights)  # a hub may list a hundred thousand
        chosen = tuple(file for file in all_files if file in wanted or _is_companion(file.name))
    kept = tuple(file for file in chosen if not _matches(file.name, filter.exclude))
    if not any(weight_format(file.name) for file in kept):
        raise _no_weights(repository, all_files, filter)
    if filter.is_default:
        _check_shards(repository, kept)
    return Selection(kept, variant)


def _check_shards(repository: str, files: Iterable[RemoteFile]) -> None:
    """Raise `BrokenModel` if the hub lacks shards of a model."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for file in files:
        if weight_format(file.name):
            part = parse_shard(file.name)
            numbers[part.stem, part.total].add(part.number)
    for (stem, total), found in sorted(numbers.items()):
        if len(found) < total:
            raise BrokenModel(
                f"`{repository}` is incomplete on the hub: it has {len(found)} of the {total} files of {stem}.",
                model=repository,
                reason="incomplete_on_hub",
            )


def _include(
    repository: str, all_files: Sequence[RemoteFile], patterns: Sequence[str], variant: str | None
) -> tuple[RemoteFile, ...]:
    chosen = tuple(file for file in all_files if _matches(file.name, patterns))
    if variant is None:
        return chosen
    names = set(_variant_called(repository, gguf_variants(all_files), variant).files)
    return tuple(file for file in chosen if file.name in names or not weight_format(file.name))


def _weights(
    repository: str, all_files: Sequence[RemoteFile], variant: str | None
) -> tuple[tuple[RemoteFile, ...], str | None]:
    variants = gguf_variants(all_files)
    if variant is not None:
        named = _variant_called(repository, variants, variant)
        names = set(named.files)
        return tuple(file for file in all_files if file.name in names), named.name
    safetensors = [file for file in all_files if file.name.endswith(".safetensors") and "/" not in file.name]
    # Some repositories have the same weights twice, for example as `consolidated.safetensors`.
    usual = [file for file in safetensors if file.name.startswith("model")]
    if safetensors:
        return tuple(usual or safetensors), None
    legacy = tuple(file for file in all_files if file.name.endswith(".npz") and "/" not in file.name)
    if legacy:
        return legacy, None
    if len(variants) > 1:
        raise AmbiguousModel(repository, [f"{repository}:{each.name}" for each in variants], what="GGUF variants")
    names = {name for each in variants for name in each.files}
    return tuple(file for file in all_files if file.name in names), None


def _variant_called(repository: str, variants: Sequence[Variant], name: str) -> Variant:
    for variant in variants:
        if variant.name.casefold() == name.casefold():
            return variant
    raise _NoVariant(repository, name, [variant.name for variant in variants])


class _NoVariant(ModelNotFound):
    """The repository exists, but the variant does not."""

    def __init__(self, repository: str, name: str, names: Sequence[str]) -> None:
        available = f"Available: {', '.join(names)}." if names else "It has no GGUF variants."
        ModelError.__init__(
            self,
            f"`{repository}` has no variant `{name}`. {available}",
            repository=repository,
            variant=name,
            candidates=list(names),
        )


def _no_weights(repository: str, all_files: Sequence[RemoteFile], filter: Filter) -> NoWeights:
    others = sorted({file.name for file in all_files if weight_format(file.name)})
    if not filter.is_default:
        why = f"--include and --exclude select no weights of `{repository}`."
    else:
        why = f"`{repository}` has no MLX/safetensors weights and no GGUF file."
    listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    has = f" Its weights are {listed}; select them with --include." if others else " It has no weights."
    return NoWeights(why + has, repository=repository, weights=others)


def _is_companion(name: str) -> bool:
    return any(
        fnmatchcase(name, pattern)
        for pattern in _COMPANIONS
        if ("/" in pattern) == (len(PurePosixPath(name).parts) > 1)
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)
