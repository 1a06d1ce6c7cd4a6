"""Messages between the server and its trial processes: a length, then a pickle."""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

_LENGTH = struct.Struct(">I")


class Outcome(NamedTuple):
    """What became of one grammar: None, or the option, reason and path of its error.

    After the `is_last` outcome the process ends: it has used much time or memory.
    """

    error: tuple[str, str, str | None] | None
    is_last: bool


def write_message(stream: IO[bytes], message: bytes) -> None:
    """Write one message. Raises `OSError` if no process reads it."""
    stream.write(_LENGTH.pack(len(message)) + message)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes:
    """Return one message, nothing at the end of the stream or of the process that writes it."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return b""
    length = _LENGTH.unpack(head)[0]
    message = stream.read(length)
    return message if len(message) == length else b""
