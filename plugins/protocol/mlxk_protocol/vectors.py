"""Vectors in JSON, in pieces of bounded size."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterable, Iterator

import msgspec

_PIECE = 64 << 10
"""Bytes from which a piece is sent."""
_NUMBERS = 3 << 12
"""Of one piece; a multiple of three, as base64 needs it."""
_encode = msgspec.json.Encoder().encode


def json_pieces(vector: array[float]) -> Iterator[bytes]:
    """Yield the pieces of a vector as a list of numbers."""
    yield b"["
    for start in range(0, len(vector), _NUMBERS):
        if start:
            yield b","
        yield _encode(vector[start : start + _NUMBERS].tolist())[1:-1]
    yield b"]"


def base64_pieces(vector: array[float]) -> Iterator[bytes]:
    """Yield the pieces of a vector as a text: base64 of little-endian float32."""
    yield b'"'
    for start in range(0, len(vector), _NUMBERS):
        yield base64.b64encode(vector[start : start + _NUMBERS].tobytes())
    yield b'"'


def together(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield small pieces together."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
