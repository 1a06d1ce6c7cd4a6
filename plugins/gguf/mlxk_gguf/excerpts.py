"""Parts of a GGUF file in files of their own, for a reader that must not get the whole file.

MLX opens a GGUF file for writing, which fails for a file of an administrator; maps it into memory, so that a file that
is cut off meanwhile ends the process; reads metadata that it does not need and may misread; and converts all numbers
with the interpreter locked. An excerpt has tensors or rows of one only, and no other process knows its file.
"""

from __future__ import annotations

import math
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, BinaryIO

from mlxk_core.api import GGUFTensor
from mlxk_core.api.errors import BrokenModel, MlxkError, UnsupportedModel
from mlxk_core.api.models import open_file
from mlxk_gguf.files import Part
from mlxk_gguf.support import TENSOR_TYPES

_NUMBERS = 1 << 22
"""Of an excerpt: MLX converts them in 20 to 70 ms."""
_BUFFER = 4 << 20
_ALIGNMENT = 32
_VERSION = 3


@dataclass(frozen=True)
class Slice:
    """Rows of a tensor, from the one of number `start`, where a row is what lies along the first of GGUF's axes.

    `shape` has GGUF's order; `offset` and `size` are in bytes.
    """

    tensor: GGUFTensor
    start: int
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape[1:])


@dataclass(frozen=True)
class Excerpt:
    """A file of whole tensors, or of a `slice` of one tensor."""

    path: str
    slice: Slice | None


def rows(tensor: GGUFTensor) -> int:
    """Return the number of rows of `tensor`."""
    return math.prod(tensor.shape[1:])


def excerpts(part: Part, tensors: Sequence[GGUFTensor]) -> Iterator[Excerpt]:
    """Yield GGUF files that have `tensors` of `part` together. Each exists until the next is asked for; the slices of
    a tensor come in order.

    Raises `BrokenModel` if the file ends too soon, `UnsupportedModel` for rows of more than 4,194,304 numbers, and
    `MlxkError` if the file or a copy cannot be read or written.
    """
    try:
        with open_file(part.path) as source:
            for group in _groups(tensors):
                with _nameless_file() as (copy, path):
                    _write(part, group, source, copy)
                    copy.flush()
                    yield Excerpt(path, group[0] if _is_large(group[0].tensor) else None)
    except OSError as error:
        reason = error.strerror or error
        raise MlxkError(f"{part.path.name} cannot be copied for MLX to read it: {reason}.") from error


def _groups(tensors: Sequence[GGUFTensor]) -> Iterator[list[Slice]]:
    group: list[Slice] = []
    numbers = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if _is_large(tensor):
            yield from ([slice] for slice in _slices(tensor))
            continue
        if group and numbers + tensor.elements > _NUMBERS:
            yield group
            group, numbers = [], 0
        group.append(Slice(tensor, 0, tensor.shape, tensor.offset, tensor.size or 0))
        numbers += tensor.elements
    if group:
        yield group


def _is_large(tensor: GGUFTensor) -> bool:
    return tensor.elements > _NUMBERS


def _slices(tensor: GGUFTensor) -> Iterator[Slice]:
    length, count = tensor.shape[0], rows(tensor)
    row = replace(tensor, shape=(length,)).size or 0
    if length > _NUMBERS or row * count != tensor.size:
        raise UnsupportedModel(f"The tensor {tensor.name} has rows of {length:,} numbers, which cannot be read apart.")
    together = _NUMBERS // length
    for start in range(0, count, together):
        several = min(together, count - start)
        yield Slice(tensor, start, (length, several), tensor.offset + start * row, several * row)


@contextmanager
def _nameless_file() -> Iterator[tuple[IO[bytes], str]]:
    """Open a file that vanishes with the process, and yield it with a path to open it by."""
    if hasattr(os, "memfd_create"):  # needs no disk
        with os.fdopen(os.memfd_create("mlxk-gguf"), "w+b") as file:
            yield file, f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(prefix="mlxk-", suffix=".gguf") as named:
            yield named.file, named.name


def _write(part: Part, slices: Sequence[Slice], source: BinaryIO, copy: IO[bytes]) -> None:
    """Write a GGUF file without metadata (github.com/ggml-org/ggml, docs/gguf.md)."""
    head = [b"GGUF", struct.pack("<IQQ", _VERSION, len(slices), 0)]
    offset = 0
    for each in slices:
        name = each.tensor.name.encode()
        axes = len(each.shape)
        head.append(struct.pack(f"<Q{len(name)}sI{axes}Q", len(name), name, axes, *each.shape))
        head.append(struct.pack("<IQ", TENSOR_TYPES[each.tensor.type], offset))
        offset = _aligned(offset + each.size)
    copy.write(b"".join(head))
    for each in slices:
        copy.seek(_aligned(copy.tell()))
        source.seek(part.header.data_offset + each.offset)
        left = each.size
        while left:
            data = source.read(min(left, _BUFFER))
            if not data:
                raise BrokenModel(f"{part.path.name} is cut off.", file=part.path.name)
            copy.write(data)
            left -= len(data)
    copy.truncate(_aligned(copy.tell()))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
