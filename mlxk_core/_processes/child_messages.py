"""Messages between this process and its children: JSON after its length in 4 bytes, big endian."""

from __future__ import annotations

import base64
import json
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import IO, Any

LENGTH = struct.Struct(">I")
_PIECE = 1 << 16


def encode_message(value: Any) -> bytes:
    """Return `value` as one message."""
    # Escapes of other characters would be up to twelve bytes for one. Halves of characters pass as they are.
    return encode_body(json.dumps(value, default=_plain, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def encode_body(body: bytes) -> bytes:
    """Return `body`, of any form, as one message."""
    return LENGTH.pack(len(body)) + body


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


def announce(responses: IO[bytes]) -> None:
    """Say that this process is ready for its first request: it has imported its libraries."""
    responses.write(encode_message({"ready": True}))
    responses.flush()


def read_message(stream: IO[bytes]) -> Any:
    """Return the next message, None at the end of the stream."""
    body = read_body(stream)
    return None if body is None else json.loads(body)


def read_body(stream: IO[bytes]) -> bytes | None:
    """Return the body of the next message, None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def pack_ids(ids: Sequence[int]) -> str:
    """Return `ids` as one JSON string: a million numbers would keep the interpreter locked for a tenth of a second."""
    packed = array("I", ids)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed).decode("ascii")


def unpack_ids(text: str) -> list[int]:
    """Return the ids that `pack_ids` packed."""
    packed = array("I", base64.b64decode(text))
    if sys.byteorder == "big":
        packed.byteswap()
    ids: list[int] = []
    for start in range(0, len(packed), _PIECE):  # the interpreter is not locked for longer than a piece takes
        ids += packed[start : start + _PIECE]
    return ids
