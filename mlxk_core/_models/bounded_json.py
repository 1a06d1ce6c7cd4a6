"""JSON in files of a model, whose number of values is limited before they are built."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mlxk_core._text.long_numbers import count_long_numbers

MAX_VALUES = 1 << 18
"""Values of one JSON text. An index of as many tensors has them; parsing them takes half a second of the lock."""
LONGEST_NAME = 1024
"""Characters of a key, such as the name of a tensor. Patterns are searched in them, and one search in 15 million takes
seconds of the lock."""

_ESCAPED_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def count_values(data: bytes) -> int:
    """Return a number that the JSON values in `data` do not exceed; punctuation inside strings counts as well, and a
    long number for many.

    Takes some milliseconds for each megabyte, and builds nothing.
    """
    return 1 + data.count(b",") + data.count(b"[") + data.count(b"{") + count_long_numbers(data)


def _has_half_character(data: bytes) -> bool:
    """Return whether a text in JSON has one of two surrogates without the other."""
    if _SURROGATE.search(data) is None:
        return False
    # Two backslashes are one that is escaped, before whatever follows.
    return _SURROGATE.search(_ESCAPED_PAIR.sub(b"", data.replace(rb"\\", b"  "))) is not None


def _containers(value: Any) -> Iterator[dict[str, Any] | list[Any]]:
    """Yield the objects and lists in `value`."""
    found = [value]
    while found:
        each = found.pop()
        if type(each) is dict:
            yield each
            found += [item for item in each.values() if type(item) in (dict, list)]
        elif type(each) is list:
            yield each
            found += [item for item in each if type(item) in (dict, list)]


def _check_lengths(value: Any, longest_text: int | None) -> None:
    for each in _containers(value):
        if isinstance(each, dict) and (length := max(map(len, each), default=0)) > LONGEST_NAME:
            raise ValueError(f"it has a name of {length:,} characters (at most {LONGEST_NAME:,})")
        if longest_text is not None:
            texts = (item for item in (each.values() if isinstance(each, dict) else each) if isinstance(item, str))
            if (length := max(map(len, texts), default=0)) > longest_text:
                raise ValueError(f"it has a text of {length:,} characters (at most {longest_text:,})")


def parse_json(
    data: bytes | str,
    limit: int = MAX_VALUES,
    object_hook: Callable[[dict[str, Any]], Any] | None = None,
    *,
    longest_text: int | None = None,
) -> Any:
    """Return the value of a JSON text of `limit` values or fewer. `object_hook` replaces each object, as in `json`.

    Raises `ValueError`, also for more values or a nesting that is too deep: a text of a few megabytes can take
    gigabytes and, with the interpreter locked, half a minute. So does half of a character (a surrogate), which no
    response can contain, a key of more than `LONGEST_NAME` characters, and a text of more than `longest_text`.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if (count := count_values(raw)) > limit:
        raise ValueError(f"it has about {count:,} values (at most {limit:,})")
    try:
        value = json.loads(data, object_hook=object_hook)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_lengths(value, longest_text)
    if _has_half_character(raw):
        raise ValueError("it has half of a character")
    return value
