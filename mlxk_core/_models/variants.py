"""GGUF variants of a repository: which of its files belong together, by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from mlxk_core._models.files import parse_shard

# The names of encodings, as the GGUF naming convention and the uploads of unsloth, bartowski and ggml-org spell them.
_ENCODING = re.compile(
    r"(?<![A-Z0-9])((?:UD-)?(?:I?Q[1-8](?:_[A-Z0-9]+)*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32|FP16|FP32))(?![A-Z0-9])",
    re.IGNORECASE,
)
# Companions of a model: the image encoder, a quantizer's statistics, a bare vocabulary, an adapter.
_COMPANION = re.compile(r"mmproj|imatrix|(?<![a-z0-9])(?:vocab|lora)(?![a-z0-9])", re.IGNORECASE)


def is_companion(name: str) -> bool:
    """Return whether a GGUF file goes with a model without being one, so that the model runs without it."""
    return name.lower().endswith(".gguf") and _COMPANION.search(PurePosixPath(name).name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One GGUF variant in a repository: `Q4_K_M` and the like. `size` is in bytes, all shards together."""

    name: str
    size: int
    shards: int = 1
    complete: bool = True
    files: tuple[str, ...] = ()


class SizedFile(Protocol):
    """A file by its path inside the repository."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...


def gguf_variants(files: Iterable[SizedFile]) -> tuple[Variant, ...]:
    """Return the variants among `files`, smallest first. A set of shards is one variant.

    A variant is incomplete if shards are missing; numbers outside the set (00000 or 00005 of 00002) are ignored.

    A variant is named after its encoding in upper case (`Q4_K_M`), taken from the file's name or else its folder's;
    after its file if neither has one, or if another variant has the same encoding.
    """
    groups: dict[tuple[str, int], dict[int, SizedFile]] = defaultdict(dict)
    for file in files:
        if file.name.lower().endswith(".gguf") and not is_companion(file.name):
            part = parse_shard(file.name)
            groups[part.stem, part.total][part.number] = file
    encodings = {key: _encoding(key[0]) for key in groups}
    shared = Counter(encodings.values())
    found = []
    for (stem, total), numbered in groups.items():
        shards = {number: file for number, file in numbered.items() if 1 <= number <= total} or numbered
        encoding = encodings[stem, total]
        name = encoding if encoding and shared[encoding] == 1 else stem
        found.append(
            Variant(
                name=name,
                size=sum(file.size for file in shards.values()),
                shards=total,
                complete=len(shards) == total and min(shards) == 1 and max(shards) == total,
                files=tuple(file.name for _, file in sorted(shards.items())),
            )
        )
    return tuple(sorted(found, key=lambda variant: (variant.size, variant.name)))


def gguf_encoding(name: str) -> str | None:
    """Return the encoding that a GGUF file's name states, in upper case (`Q4_K_M`), or None."""
    return _encoding(parse_shard(name).stem)


def _encoding(stem: str) -> str | None:
    """Return the last encoding in the file's name, else in the nearest folder that names one."""
    for part in reversed(PurePosixPath(stem).parts):
        if found := _ENCODING.findall(part):
            return str(found[-1]).upper()
    return None
