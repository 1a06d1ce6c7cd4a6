"""Parts of a GGUF file in files of their own, for a reader that must not get the whole file.

MLX opens a GGUF file for writing, which fails for a file of an administrator; maps it into memory, so that a file that
is cut off meanwhile ends the process; and reads metadata that it does not need and may misread. An excerpt has tensors
only, and no other process knows its file.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, BinaryIO

from mlxk_core.api import GGUFTensor
from mlxk_core.api.errors import BrokenModel, MlxkError
from mlxk_core.api.models import open_file
from mlxk_gguf.files import Part
from mlxk_gguf.support import TENSOR_TYPES

_BYTES = 64 << 20
"""Of an excerpt, unless one tensor has more."""
_BUFFER = 4 << 20
_ALIGNMENT = 32
_VERSION = 3


def excerpts(part: Part, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield the paths of GGUF files that have `tensors` of `part` together. Each exists until the next is asked for.

    Raises `BrokenModel` if the file ends too soon, and `MlxkError` if it or the copy cannot be read or written.
    """
    try:
        with open_file(part.path) as source:
            for group in _groups(tensors):
                with _nameless_file() as (copy, path):
                    _write(part, group, source, copy)
                    copy.flush()
                    yield path
    except OSError as error:
        reason = error.strerror or error
        raise MlxkError(f"{part.path.name} cannot be copied for MLX to read it: {reason}.") from error


def _groups(tensors: Sequence[GGUFTensor]) -> Iterator[list[GGUFTensor]]:
    group: list[GGUFTensor] = []
    size = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if group and size + (tensor.size or 0) > _BYTES:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += tensor.size or 0
    if group:
        yield group


@contextmanager
def _nameless_file() -> Iterator[tuple[IO[bytes], str]]:
    """Open a file that vanishes with the process, and yield it with a path to open it by."""
    if hasattr(os, "memfd_create"):  # needs no disk
        with os.fdopen(os.memfd_create("mlxk-gguf"), "w+b") as file:
            yield file, f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(prefix="mlxk-", suffix=".gguf") as named:
            yield named.file, named.name


def _write(part: Part, tensors: Sequence[GGUFTensor], source: BinaryIO, copy: IO[bytes]) -> None:
    """Write a GGUF file without metadata (github.com/ggml-org/ggml, docs/gguf.md)."""
    head = [b"GGUF", struct.pack("<IQQ", _VERSION, len(tensors), 0)]
    offset = 0
    for tensor in tensors:
        name = tensor.name.encode()
        axes = len(tensor.shape)
        head.append(struct.pack(f"<Q{len(name)}sI{axes}Q", len(name), name, axes, *tensor.shape))
        head.append(struct.pack("<IQ", TENSOR_TYPES[tensor.type], offset))
        offset = _aligned(offset + (tensor.size or 0))
    copy.write(b"".join(head))
    for tensor in tensors:
        copy.seek(_aligned(copy.tell()))
        source.seek(part.header.data_offset + tensor.offset)
        left = tensor.size or 0
        while left:
            data = source.read(min(left, _BUFFER))
            if not data:
                raise BrokenModel(f"{part.path.name} is cut off.", file=part.path.name)
            copy.write(data)
            left -= len(data)
    copy.truncate(_aligned(copy.tell()))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
