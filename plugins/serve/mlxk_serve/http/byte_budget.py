"""Budgets of bytes that all connections share: what they receive and what they have not sent yet."""

from __future__ import annotations

import threading
from io import BytesIO

from waitress.buffers import ReadOnlyFileBasedBuffer


class ByteBudget:
    """At most `most` bytes at once. Safe to use from any thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._held = 0

    def take(self, count: int) -> bool:
        """Take `count` bytes; False, and none is taken, if they are not free."""
        with self._lock:
            if self._held + count > self.most:
                return False
            self._held += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count


class Share:
    """What one holder has of a budget. It is given back with the last reference, too."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._count = 0

    def grow_to(self, count: int) -> bool:
        """Hold `count` bytes in all, or return False; a share never shrinks."""
        if count > self._count:
            if not self._budget.take(count - self._count):
                return False
            self._count = count
        return True

    def release(self) -> None:
        count, self._count = self._count, 0
        if count:
            self._budget.give_back(count)

    __del__ = release


class MemoryBuffer(ReadOnlyFileBasedBuffer):
    """Bytes to send, in memory; waitress would write as many to a temporary file. `share` is what they take."""

    def __init__(self, data: bytes, share: Share) -> None:
        super().__init__(BytesIO(data))
        self.remain = len(data)
        self._share = share

    def close(self) -> None:
        super().close()
        self._share.release()
