"""Events of a stream that can be read again: the last ones as they are, those before them compressed."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from weakref import WeakValueDictionary

_BLOCK = 256 << 10
"""Bytes of events that are compressed together."""
_LEVEL = 1
"""Events repeat one another: a higher level takes several times as long for little."""
_END = b"\n\n"
_LIST_ENTRY = 41
"""Bytes of an event besides its text: the object and its place in the list."""


class _Events(list[bytes]):
    """Events of a block that was read. `whole` are all of the block, which exist as long as some of them are used."""

    whole: _Events | None = None


class EventLog:
    """Server-sent events in order, each with the empty line that ends it. A token's event of 330 bytes takes about 20.

    Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._starts: list[int] = []
        """The place of the first event of each block."""
        self._read: WeakValueDictionary[int, _Events] = WeakValueDictionary()
        """Blocks that are being read: all readers share the events, which may be megabytes."""
        self._recent: list[bytes] = []
        self._recent_start = 0
        self._recent_size = 0
        self._size = 0

    def __len__(self) -> int:
        """Return the number of events so far."""
        return self._recent_start + len(self._recent)

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        return self._size + self._recent_size

    def add(self, events: bytes) -> None:
        """Append one or more events."""
        for event in events.split(_END):
            if event:
                self._recent.append(event + _END)
                self._recent_size += len(event) + len(_END) + _LIST_ENTRY
        if self._recent_size >= _BLOCK:
            self._compress()

    def since(self, place: int) -> Sequence[bytes]:
        """Return events from `place` on, in order: at least one if there are any, not always all."""
        if place >= self._recent_start:
            return self._recent[place - self._recent_start :]
        block = bisect_right(self._starts, place) - 1
        events = self._read.get(block)
        if events is None:
            texts = zlib.decompress(self._blocks[block]).split(_END)[:-1]
            events = self._read[block] = _Events(text + _END for text in texts)
        found = _Events(events[place - self._starts[block] :])
        found.whole = events
        return found

    def _compress(self) -> None:
        block = zlib.compress(b"".join(self._recent), _LEVEL)
        self._blocks.append(block)
        self._starts.append(self._recent_start)
        self._size += len(block)
        self._recent_start += len(self._recent)
        self._recent, self._recent_size = [], 0
