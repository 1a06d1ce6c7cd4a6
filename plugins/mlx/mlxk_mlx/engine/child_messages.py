"""What this process and its children share: messages (JSON after its length in 4 bytes, big endian), and limits."""

from __future__ import annotations

import json
import resource
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


def limit_process(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes, and write no core dump. For a child."""
    for limit, value in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
        except (OSError, ValueError):
            pass  # a lower limit holds already, or the system has none of this kind
