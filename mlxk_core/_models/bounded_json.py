"""JSON in files of a model, whose number of values is limited before they are built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

MAX_VALUES = 400_000
"""Values of one JSON text. An index of 200,000 tensors has as many; parsing a million takes a second of the lock."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def count_values(data: bytes) -> int:
    """Return a number that the JSON values in `data` do not exceed; punctuation inside strings counts as well.

    Takes a millisecond for each megabyte, and builds nothing.
    """
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{")


def parse_json(
    data: bytes | str, limit: int = MAX_VALUES, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Return the value of a JSON text of `limit` values or fewer. `object_hook` replaces each object, as in `json`.

    Raises `ValueError`, also for more values or a nesting that is too deep: a text of a few megabytes can take
    gigabytes and, with the interpreter locked, half a minute. So does half of a character (a surrogate), which no
    response can contain.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if (count := count_values(raw)) > limit:
        raise ValueError(f"it has about {count:,} values (at most {limit:,})")
    try:
        value = json.loads(data, object_hook=object_hook)
        if _SURROGATE.search(raw):  # two in a row are a character
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half of a character") from None
    return value
