"""Decoders of types, made one at a time: msgspec 0.22 ends the process if two threads use a new struct type at once."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_LOCK = threading.RLock()
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder_of(kind: type[_T]) -> msgspec.json.Decoder[_T]:
    """Return the decoder of a `kind`, a type that is defined once.

    The first use of a struct type fills a table that other threads already read meanwhile.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        with _LOCK:
            decoder = _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
    return decoder
