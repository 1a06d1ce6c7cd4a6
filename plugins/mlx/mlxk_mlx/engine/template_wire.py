"""Messages between the processes that render chat templates: JSON after its length in 4 bytes (big endian).

Apart from the worker, whose jinja2 its parent does without.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

LENGTH = struct.Struct(">I")


def encode_message(value: Any) -> bytes:
    """Return `value` as one message."""
    body = json.dumps(value, default=_plain).encode("ascii")
    return LENGTH.pack(len(body)) + body


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
