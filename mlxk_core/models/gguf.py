"""The header of a GGUF file: metadata and the list of tensors, read without the weights."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlxk_core.errors import BrokenModel

# Metadata value types of the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_ENTRIES = 1 << 20  # no real header comes near; a damaged one must not make us read for minutes

TENSOR_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
_CONTROL, _USER_DEFINED = 3, 4  # token types


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """A tensor as the header lists it: `shape` in ggml's order (fastest axis first), `type` by name (`Q4_K`)."""

    name: str
    shape: tuple[int, ...]
    type: str


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What stands before the weights."""

    version: int
    metadata: Mapping[str, Any]
    tensors: tuple[GGUFTensor, ...]

    @property
    def architecture(self) -> str | None:
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else None

    def added_tokens(self) -> Iterator[tuple[int, str, bool]]:
        """(id, text, special) of the control and user-defined tokens."""
        tokens = self.metadata.get("tokenizer.ggml.tokens") or ()
        types = self.metadata.get("tokenizer.ggml.token_type") or ()
        for index, (text, kind) in enumerate(zip(tokens, types, strict=False)):
            if kind in (_CONTROL, _USER_DEFINED):
                yield index, text, kind == _CONTROL


def read_header(path: Path) -> GGUFHeader:
    """Reads the header of `path`; raises `BrokenModel` if it is none or is cut off."""
    try:
        with path.open("rb") as file:
            return _Reader(file).header()
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error}", file=path.name) from error
    except (struct.error, ValueError, UnicodeDecodeError, KeyError) as error:
        raise BrokenModel(f"{path.name} has a damaged GGUF header: {error}", file=path.name) from error


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def header(self) -> GGUFHeader:
        if self._file.read(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version = self._scalar("I")
        if version not in (2, 3):
            raise ValueError(f"version {version} is not 2 or 3")
        tensors, entries = self._count(), self._count()
        metadata = {}
        for _ in range(entries):
            key = self._string()
            metadata[key] = self._value(self._scalar("I"))
        return GGUFHeader(version, metadata, tuple(self._tensor() for _ in range(tensors)))

    def _tensor(self) -> GGUFTensor:
        name = self._string()
        shape = tuple(self._scalar("Q") for _ in range(self._scalar("I")))
        kind = self._scalar("I")
        self._scalar("Q")  # offset
        return GGUFTensor(name, shape, TENSOR_TYPES.get(kind, f"type {kind}"))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, length = self._scalar("I"), self._scalar("Q")
            if inner in _SCALARS:
                return list(struct.unpack(f"<{length}{_SCALARS[inner]}", self._bytes(length * struct.calcsize(f"<{_SCALARS[inner]}"))))
            return [self._value(inner) for _ in range(length)]
        return self._scalar(_SCALARS[kind])

    def _count(self) -> int:
        count = self._scalar("Q")
        if count > _MOST_ENTRIES:
            raise ValueError(f"it claims {count} entries")
        return int(count)

    def _string(self) -> str:
        return self._bytes(self._scalar("Q")).decode("utf-8", errors="replace")

    def _scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._bytes(struct.calcsize(f"<{code}")))[0]

    def _bytes(self, length: int) -> bytes:
        data = self._file.read(length) if length < 1 << 31 else b""
        if len(data) != length:
            raise ValueError("it is cut off")
        return data
