"""Which files of a repository make a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from mlxk_core.api.errors import AmbiguousModel, BrokenModel, Kind, ModelError, ModelNotFound
from mlxk_core.api.models import Variant, gguf_variants, parse_shard, weight_format
from mlxk_hub.client import RemoteFile

# Config, tokenizer, chat template and what a licence asks to be kept. Never *.py: no code is run from a repository.
_BESIDE_WEIGHTS = (
    "*.json",
    "*.jinja",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "README.md",
    "LICENSE*",
    "NOTICE*",
    "additional_chat_templates/*.jinja",
    "[0-9]_*/config.json",  # what sentence-transformers says about an embedding model
)


class NoWeights(ModelError):
    """Nothing that could be run would be downloaded."""

    kind = Kind("no_weights", 1, 404)


@dataclass(frozen=True, slots=True)
class Filter:
    """`include` takes the place of the files a model is made of; `exclude` takes files away from them.

    Patterns are shell patterns on the whole path, where `*` goes over `/` too, as in `hf download`.
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
    """The files to have: those of the MLX/safetensors model, or of one GGUF variant, with all that goes beside them.

    Raises `ModelNotFound` for a variant that is not there, `AmbiguousModel` where one must be chosen, `NoWeights`, and
    `BrokenModel` where shards are missing.
    """
    every = tuple(files)
    if filter.include:
        chosen, variant = _included(repository, every, filter.include, variant), variant
    else:
        weights, variant = _weights(repository, every, variant)
        chosen = tuple(file for file in every if file in weights or _beside_weights(file.name))
    kept = tuple(file for file in chosen if not _matches(file.name, filter.exclude))
    if not any(weight_format(file.name) for file in kept):
        raise _no_weights(repository, every, filter)
    if filter.is_default:
        _refuse_gaps(repository, kept)
    return Selection(kept, variant)


def _refuse_gaps(repository: str, files: Iterable[RemoteFile]) -> None:
    """A model whose shards are not all on the hub is not worth its download."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for file in files:
        if weight_format(file.name):
            stem, number, total = parse_shard(file.name)
            numbers[stem, total].add(number)
    for (stem, total), found in sorted(numbers.items()):
        if len(found) < total:
            raise BrokenModel(
                f"`{repository}` is not complete on the hub: of the {total} files of {stem}, {len(found)} are there.",
                model=repository,
                reason="incomplete_on_hub",
            )


def _included(
    repository: str, every: Sequence[RemoteFile], patterns: Sequence[str], variant: str | None
) -> tuple[RemoteFile, ...]:
    chosen = tuple(file for file in every if _matches(file.name, patterns))
    if variant is None:
        return chosen
    names = _named(repository, gguf_variants(every), variant).files
    return tuple(file for file in chosen if file.name in names or not weight_format(file.name))


def _weights(
    repository: str, every: Sequence[RemoteFile], variant: str | None
) -> tuple[tuple[RemoteFile, ...], str | None]:
    variants = gguf_variants(every)
    if variant is not None:
        named = _named(repository, variants, variant)
        return tuple(file for file in every if file.name in named.files), named.name
    safetensors = [file for file in every if file.name.endswith(".safetensors") and "/" not in file.name]
    # A repository may hold the same weights twice, as `consolidated.safetensors` of their makers for one.
    usual = [file for file in safetensors if file.name.startswith("model")]
    if safetensors:
        return tuple(usual or safetensors), None
    legacy = tuple(file for file in every if file.name.endswith(".npz") and "/" not in file.name)
    if legacy:
        return legacy, None
    if len(variants) > 1:
        raise AmbiguousModel(repository, [f"{repository}:{each.name}" for each in variants], what="GGUF variants")
    return tuple(file for file in every if variants and file.name in variants[0].files), None


def _named(repository: str, variants: Sequence[Variant], asked: str) -> Variant:
    for variant in variants:
        if variant.name.casefold() == asked.casefold():
            return variant
    raise _NoVariant(repository, asked, [variant.name for variant in variants])


class _NoVariant(ModelNotFound):
    """The repository is there, the variant is not."""

    def __init__(self, repository: str, asked: str, names: Sequence[str]) -> None:
        there = f"It has {', '.join(names)}." if names else "It has no GGUF variants at all."
        ModelError.__init__(
            self,
            f"`{repository}` has no variant `{asked}`. {there}",
            repository=repository,
            variant=asked,
            candidates=list(names),
        )


def _no_weights(repository: str, every: Sequence[RemoteFile], filter: Filter) -> NoWeights:
    others = sorted({file.name for file in every if weight_format(file.name)})
    if not filter.is_default:
        why = f"Of `{repository}`, no weights are left by --include and --exclude."
    else:
        why = f"`{repository}` holds no MLX/safetensors weights and no GGUF file."
    listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    has = f" Its weights are {listed}; --include takes files by name." if others else " It holds no weights at all."
    return NoWeights(why + has, repository=repository, weights=others)


def _beside_weights(name: str) -> bool:
    return any(
        fnmatchcase(name, pattern)
        for pattern in _BESIDE_WEIGHTS
        if ("/" in pattern) == (len(PurePosixPath(name).parts) > 1)
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)
