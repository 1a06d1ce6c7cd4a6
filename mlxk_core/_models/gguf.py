"""The header of a GGUF file: metadata and the list of tensors, read without the weights."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from mlxk_core._errors import BrokenModel, release_locals
from mlxk_core._models.bounded_json import LONGEST_NAME
from mlxk_core._models.cached import cached_property
from mlxk_core._models.files import CutOff, open_file, read_error

# Metadata value types of the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_LENGTH = struct.Struct("<Q")
_CONTROL, _USER_DEFINED = 3, 4  # token types
_ALIGNMENT_KEY = "general.alignment"
_ALIGNMENT = 32  # of the weights, unless the key says otherwise

# Limits far above real headers: a damaged one must not take minutes or gigabytes to read.
_MAX_ENTRIES = 1 << 14  # tensors, or keys; the largest models have 2,000 of one, and 100 of the other
_MAX_ELEMENTS = 1 << 21  # of all arrays together; the largest vocabularies have 262,144, and twice as many merges
_LONG_ARRAY = 1 << 12  # numbers; a list takes 32 bytes for each
_MAX_HEADER = 1 << 26  # bytes
_MAX_ALIGNMENT = 1 << 16
_LONGEST_AXIS = (1 << 31) - 1
_LONGEST_SHOWN = 100  # characters of a name
_LARGEST_VALUE = 1 << 20  # bytes, of all but the tokenizer with its templates
_LARGEST_TEMPLATES = 2 << 20  # bytes of all chat templates together: they are searched in one step
_TOKENIZER = "tokenizer."
_VOCABULARY = "tokenizer.ggml."
_CHAT_TEMPLATE = "tokenizer.chat_template"
_ARCHITECTURE = "general.architecture"
_FIRST_READ = 1 << 20

TENSOR_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip

GGUF_BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "F64": (1, 8), "I8": (1, 1), "I16": (1, 2), "I32": (1, 4),
    "I64": (1, 8), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "Q8_K": (256, 292), "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74),
    "IQ2_S": (256, 82), "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
    "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
    "Q1_0": (128, 18),
}  # fmt: skip
"""Weights in a block of each type, and the bytes a block takes; compared with gguf 0.19, entry by entry."""


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """A tensor as the header lists it: `shape` in ggml's order (fastest axis first), `type` by name (`Q4_K`),
    `offset` in bytes from where the weights begin."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int | None:
        """Its size in the file in bytes; None for an unknown type."""
        if self.type not in GGUF_BLOCKS:
            return None
        weights, size = GGUF_BLOCKS[self.type]
        return -(-self.elements // weights) * size


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """The header. The weights begin `data_offset` bytes into the file."""

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[GGUFTensor, ...]
    data_offset: int = 0

    @property
    def architecture(self) -> str | None:
        value = self.metadata.get(_ARCHITECTURE)
        return value if isinstance(value, str) else None

    @property
    def file_size(self) -> int:
        """The minimum size in bytes of a file with this header."""
        return max((self.data_offset + tensor.offset + (tensor.size or 0) for tensor in self.tensors), default=0)

    def added_tokens(self) -> Iterator[tuple[int, str, bool]]:
        """Yield (id, text, special) of the control and user-defined tokens."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        types = self.metadata.get("tokenizer.ggml.token_type")
        if not isinstance(tokens, Texts | list) or not isinstance(types, list | array):
            return  # a damaged header may hold a number there
        for index, (text, kind) in enumerate(zip(tokens, types, strict=False)):
            if kind in (_CONTROL, _USER_DEFINED) and isinstance(text, str):
                yield index, text, kind == _CONTROL


def read_gguf_header(path: Path) -> GGUFHeader:
    """Return the header of `path`. Raises `BrokenModel` if it is not a GGUF header or is cut off."""
    try:
        return _read(path)
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {read_error(error)}", file=path.name) from error
    except ValueError as error:
        release_locals(error)
        raise BrokenModel(f"{path.name} has a damaged GGUF header: {error}", file=path.name) from error


def _read(path: Path) -> GGUFHeader:
    with open_file(path) as file:
        head = file.read(_FIRST_READ)
        while True:
            try:
                return _Parser(head).header()
            except CutOff:
                # Most headers fit the first read; a vocabulary of 150,000 takes some megabytes.
                if len(head) >= _MAX_HEADER:
                    raise ValueError(f"it is longer than {_MAX_HEADER >> 20} MiB") from None
                more = file.read(3 * len(head)) if head else b""
                if not more:
                    raise
                head += more


class Numbers(array):  # type: ignore[type-arg]
    """A long array of numbers. In an error message it is one word: two million of them take ten seconds to write."""

    def __repr__(self) -> str:
        return f"<{len(self):,} numbers>"


class Texts(Sequence[str]):
    """An array of texts, decoded on first access: most readers of a header do not need the vocabulary, and 150,000
    tokens with their merges take 0.1 s."""

    def __init__(self, data: bytes, count: int) -> None:
        self._data = data
        self._count = count

    @cached_property
    def _texts(self) -> list[str]:
        data, at = self._data, 0
        length_at = _LENGTH.unpack_from
        parts = []
        for _ in range(self._count):
            start = at + 8
            at = start + length_at(data, at)[0]
            parts.append(data[start:at])
        return [part.decode("utf-8", "replace") for part in parts]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._texts[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def _is_alignment(value: int) -> bool:
    return 0 < value <= _MAX_ALIGNMENT and value & (value - 1) == 0


def _check_places(tensors: Sequence[GGUFTensor]) -> None:
    """Raise `ValueError` for two tensors of one name, or that share bytes: thousands of them could ask for any amount
    of memory."""
    names: set[str] = set()
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.name in names:
            raise ValueError(f"it has the tensor {_shown(tensor.name)} twice")
        names.add(tensor.name)
        if tensor.offset < end:
            raise ValueError(f"the tensors {_shown(before)} and {_shown(tensor.name)} overlap")
        end, before = tensor.offset + (tensor.size or 0), tensor.name


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


class _UnknownType(ValueError):
    def __init__(self, kind: int) -> None:
        super().__init__(f"it has {'an array of arrays' if kind == _ARRAY else f'a value of unknown type {kind}'}")


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._elements = 0
        self._templates = 0

    def header(self) -> GGUFHeader:
        if self._data[:4] != b"GGUF"[: len(self._data)]:
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        version = self._scalar("I")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not 2 or 3")
        tensors, entries = self._count(), self._count()
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._string(LONGEST_NAME)
            if key in metadata:
                raise ValueError(f"it has the key {_shown(key)} twice")
            kind = self._scalar("I")
            metadata[key] = value = self._value(kind, self._most_bytes(key, kind))
            if key.startswith(_CHAT_TEMPLATE) and isinstance(value, str):
                self._templates += len(value.encode())
            if key == _ALIGNMENT_KEY and not (kind == _UINT32 and _is_alignment(value)):
                raise ValueError(f"its {key} must be a power of two up to {_MAX_ALIGNMENT:,}, of type uint32")
        listed = tuple(self._tensor() for _ in range(tensors))
        _check_places(listed)
        alignment = metadata.get(_ALIGNMENT_KEY, _ALIGNMENT)
        return GGUFHeader(version, metadata, listed, -(-self._at // alignment) * alignment)

    def _most_bytes(self, key: str, kind: int) -> int:
        """Return how many bytes the texts of a value may have."""
        if key == _ARCHITECTURE:
            return LONGEST_NAME
        if key.startswith(_CHAT_TEMPLATE):
            return max(0, _LARGEST_TEMPLATES - self._templates)
        if key.startswith(_VOCABULARY):
            return _MAX_HEADER if kind == _ARRAY else _LARGEST_VALUE
        return _MAX_HEADER if key.startswith(_TOKENIZER) else _LARGEST_VALUE  # a tokenizer.json, which nothing reads

    def _tensor(self) -> GGUFTensor:
        name = self._string(LONGEST_NAME)
        axes = self._scalar("I")
        if axes > 8:
            raise ValueError(f"tensor {_shown(name)} declares {axes} axes")
        shape = tuple(self._scalar("Q") for _ in range(axes))
        if not all(0 < axis <= _LONGEST_AXIS for axis in shape):
            raise ValueError(f"tensor {_shown(name)} declares the shape {shape}")
        kind, offset = self._scalar("I"), self._scalar("Q")
        tensor = GGUFTensor(name, shape, TENSOR_TYPES.get(kind, f"type {kind}"), offset)
        weights, _ = GGUF_BLOCKS.get(tensor.type, (1, 0))
        if (shape[0] if shape else 1) % weights:
            raise ValueError(f"tensor {_shown(name)} has rows that do not fill blocks of {weights}")
        return tensor

    def _value(self, kind: int, most: int) -> Any:
        """Return a value of this type, whose texts have `most` bytes or fewer together."""
        if kind == _STRING:
            return self._string(most)
        if kind == _ARRAY:
            inner, length = self._scalar("I"), self._scalar("Q")
            self._elements += length
            if self._elements > _MAX_ELEMENTS:
                raise ValueError(f"its arrays declare {self._elements:,} elements (at most {_MAX_ELEMENTS:,})")
            if inner == _STRING:
                return self._texts(length, most)
            if inner in _SCALARS:
                return self._numbers(_SCALARS[inner], length)
            raise _UnknownType(inner)
        if kind not in _SCALARS:
            raise _UnknownType(kind)
        return self._scalar(_SCALARS[kind])

    def _numbers(self, code: str, count: int) -> list[Any] | Numbers:
        if count <= _LONG_ARRAY or code == "?":
            return list(self._unpack(f"<{count}{code}"))
        found = Numbers(code)
        end = self._at + count * found.itemsize
        if end > len(self._data):
            raise CutOff
        found.frombytes(self._data[self._at : end])
        if sys.byteorder == "big":
            found.byteswap()
        self._at = end
        return found

    def _count(self) -> int:
        count = int(self._scalar("Q"))
        if count > _MAX_ENTRIES:
            raise ValueError(f"it declares {count:,} entries (at most {_MAX_ENTRIES:,})")
        return count

    def _string(self, most: int) -> str:
        length = self._scalar("Q")
        start, self._at = self._at, self._at + length
        if self._at - len(self._data) > _MAX_HEADER:
            raise ValueError(f"a string ends {self._at - len(self._data)} bytes past the end of the file")
        if length > most:
            raise ValueError(f"it has a name or a text of {length:,} bytes (at most {most:,})")
        if self._at > len(self._data):
            raise CutOff
        return self._data[start : self._at].decode("utf-8", "replace")

    def _texts(self, count: int, most: int) -> Texts:
        start = self._at
        self._skip_texts(count)
        if (size := self._at - start - count * _LENGTH.size) > most:
            raise ValueError(f"it has texts of {size:,} bytes (at most {most:,})")
        return Texts(self._data[start : self._at], count)

    def _skip_texts(self, count: int) -> None:
        """Skip `count` texts. Written for speed: vocabularies are read here."""
        data, at, end = self._data, self._at, len(self._data)
        length_at = _LENGTH.unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(data, at)[0]
        except (struct.error, OverflowError):
            at = max(at, end + 1)
        if at > end:
            if at - end > _MAX_HEADER:
                raise ValueError(f"a string ends {at - end} bytes past the end of the file")
            raise CutOff
        self._at = at

    def _scalar(self, code: str) -> Any:
        return self._unpack(f"<{code}")[0]

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        try:
            values = struct.unpack_from(layout, self._data, self._at)
        except struct.error:
            raise CutOff from None
        self._at += struct.calcsize(layout)
        return values
