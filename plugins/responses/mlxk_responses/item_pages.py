"""Input items of a stored response as JSON lines, of which a page is cut out without reading the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from mlxk_protocol.decoders import decoder_of


class _Item(msgspec.Struct):
    id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive items, the JSON text of each, and whether others follow."""

    items: list[bytes]
    has_more: bool

    @property
    def first_id(self) -> str | None:
        return _id(self.items[0]) if self.items else None

    @property
    def last_id(self) -> str | None:
        return _id(self.items[-1]) if self.items else None


def encode_items(items: Iterable[dict[str, Any]]) -> bytes:
    """Return items as JSON lines. Their first field is `id`."""
    return msgspec.json.Encoder().encode_lines(items)


def page(lines: bytes, *, descending: bool, limit: int, after: str | None) -> Page:
    """Return up to `limit` items, from the one after that with the id `after` on, or none if there is no such item.

    Raises an error of msgspec for one that is not an object with an id.
    """
    begin, end = 0, len(lines)
    if after is not None:
        at = _find(lines, after, last=descending)
        if at < 0:
            return Page([], False)
        begin, end = _end(lines, at) + 1, at
    found: list[bytes] = []
    more = _backwards(lines, end) if descending else _forwards(lines, begin)
    for item in more:
        if len(found) == limit:
            return Page(found, True)
        _id(item)
        found.append(item)
    return Page(found, False)


def _find(lines: bytes, id: str, *, last: bool) -> int:
    """Return where the first or the last item with that id begins; -1 without one."""
    beginning = b'{"id":' + msgspec.json.encode(id)
    at = (lines.rfind if last else lines.find)(b"\n" + beginning)
    if lines.startswith(beginning) and (at < 0 or not last):
        return 0
    return at + 1 if at >= 0 else -1


def _forwards(lines: bytes, begin: int) -> Iterator[bytes]:
    while begin < len(lines):
        end = _end(lines, begin)
        yield lines[begin:end]
        begin = end + 1


def _backwards(lines: bytes, end: int) -> Iterator[bytes]:
    while end > 0:
        begin = lines.rfind(b"\n", 0, end - 1) + 1
        yield lines[begin : end - 1]
        end = begin


def _end(lines: bytes, begin: int) -> int:
    end = lines.find(b"\n", begin)
    return end if end >= 0 else len(lines)


def _id(item: bytes) -> str:
    return decoder_of(_Item).decode(item).id
