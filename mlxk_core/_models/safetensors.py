"""Header of a safetensors file: names, types, shapes and offsets of its tensors, without the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlxk_core._errors import BrokenModel, release_locals
from mlxk_core._models.bounded_json import count_values, parse_json
from mlxk_core._models.files import CutOff, open_file, read_error

_MAX_HEADER = 12 << 20
"""Bytes. The format allows 100 MB; 30,000 tensors take 5 MB, and parsing takes 25 times the size in memory."""
_MAX_VALUES = 400_000
_LONGEST_NOTE = 1 << 20  # characters of an entry of metadata
_LONGEST_TYPE = 16
_MOST_AXES = 8
"""Of a tensor. A product of thousands of sizes is a number of millions of bits, which takes seconds in one call."""
_VALUES_OF_A_TENSOR = 16
_MOST_OTHER_VALUES = 1 << 16
"""Beyond those of tensors, between which other threads run: they are read in one call."""
_MOST_TENSORS = 1 << 15
_MOST_METADATA = 1 << 10
"""Of one header, of which MLX reads one of hundreds of thousands for seconds with the interpreter locked. The largest
models have 100 files or more."""
_WIDTHS: Mapping[str, int] = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
"""Bytes per element."""


class Tensor(NamedTuple):
    """A tensor as the header lists it; `start` and `end` are offsets in bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """The header, of `size` bytes. `length` is the number of bytes that the whole file must have."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    size: int
    length: int


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Return the header of `path`. Raises `BrokenModel` if it is not a safetensors header or is cut off."""
    try:
        return _read(path)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {read_error(error)}", file=path.name) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        release_locals(error)
        raise BrokenModel(f"{path.name} has a damaged safetensors header: {error}", file=path.name) from error


def _read(path: Path) -> SafetensorsHeader:
    with open_file(path) as file:
        size = int.from_bytes(_exactly(file.read(8), 8), "little")
        if size > _MAX_HEADER:
            raise ValueError(f"it declares {size:,} bytes (at most {_MAX_HEADER:,})")
        data = _exactly(file.read(size), size)
    if count_values(data) > _VALUES_OF_A_TENSOR * data.count(b"{") + _MOST_OTHER_VALUES:
        raise ValueError(f"it has over {_MOST_OTHER_VALUES:,} values that belong to no tensor")
    return _header(parse_json(data, _MAX_VALUES, _entry, longest_text=_LONGEST_NOTE), 8 + size)


class _Entry(NamedTuple):
    """A tensor as it is written."""

    dtype: Any
    shape: Any
    data_offsets: Any


def _entry(value: dict[str, Any]) -> _Entry | dict[str, Any]:
    """Return an object with the three members of a tensor as one.

    Called by the parser, which lets other threads run here: 80,000 objects took 0.2 s without.
    """
    if value.keys() >= {"dtype", "shape", "data_offsets"}:
        return _Entry(value["dtype"], value["shape"], value["data_offsets"])
    return value


def _header(entries: dict[str, Any], size: int) -> SafetensorsHeader:
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict):
        raise TypeError("__metadata__ must be an object")
    for what, found, most in (("tensors", entries, _MOST_TENSORS), ("entries of metadata", metadata, _MOST_METADATA)):
        if len(found) > most:
            raise ValueError(f"it has {len(found):,} {what} (at most {most:,})")
    tensors = {}
    for name, entry in entries.items():
        if not isinstance(entry, _Entry):
            raise TypeError(f"{name} must have a dtype, a shape and data_offsets")
        dtype, shape, (start, end) = entry
        if not isinstance(dtype, str) or len(dtype) > _LONGEST_TYPE:
            raise TypeError(f"the dtype of {name} must be a short string")
        if type(shape) is not list or len(shape) > _MOST_AXES or not _are_sizes(shape):
            raise ValueError(f"the shape of {name} must be a list of at most {_MOST_AXES} sizes")
        if not (_are_sizes((start, end)) and start <= end):
            raise ValueError(f"invalid offsets of {name}: {start}, {end}")
        width = _WIDTHS.get(dtype)
        if width is not None and math.prod(shape) * width != end - start:
            raise ValueError(
                f"{name} has {end - start} bytes, but shape {shape} and type {dtype} need {math.prod(shape) * width}"
            )
        tensors[name] = Tensor(dtype, tuple(shape), start, end)
    return SafetensorsHeader(tensors, metadata, size, size + _end(tensors))


def _end(tensors: Mapping[str, Tensor]) -> int:
    """Return the offset after the last tensor. Raises `ValueError` for tensors that share bytes: a small file could
    declare any amount of memory."""
    before, last = "", 0
    for start, end, name in sorted((start, end, name) for name, (_, _, start, end) in tensors.items()):
        if start == end:
            continue
        if start < last:
            raise ValueError(f"{before} and {name} overlap")
        before, last = name, end
    return max((tensor.end for tensor in tensors.values()), default=0)


def _are_sizes(values: Sequence[Any]) -> bool:
    """Return whether all are unsigned 64-bit integers, as sizes of the format are."""
    for value in values:  # noqa: SIM110 - three times as fast as `all`, and there may be 800,000
        if type(value) is not int or not 0 <= value < 1 << 64:
            return False
    return True


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise CutOff
    return data
