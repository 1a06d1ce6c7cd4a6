"""Messages between this process and its children: JSON after its length in 4 bytes, big endian."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

LENGTH = struct.Struct(">I")


def encode_message(value: Any) -> bytes:
    """Return `value` as one message."""
    body = json.dumps(value, default=_plain).encode("ascii")
    return LENGTH.pack(len(body)) + body


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def read_message(stream: IO[bytes]) -> Any:
    """Return the next message, None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None
