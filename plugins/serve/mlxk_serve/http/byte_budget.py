"""Budgets of bytes that all connections share: what they receive and what they have not sent yet."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO

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


class UnsentBuffer(ReadOnlyFileBasedBuffer):
    """Bytes to send, in a file or in memory. `share` is what they take of a budget."""

    def __init__(self, data: bytes, file: BinaryIO, share: Share) -> None:
        super().__init__(file)
        self.remain = len(data)
        self._share = share

    @classmethod
    def in_memory(cls, data: bytes, share: Share) -> UnsentBuffer:
        """Keep `data` in memory; waitress would write it to a temporary file."""
        return cls(data, BytesIO(data), share)

    @classmethod
    def in_file(cls, data: bytes, share: Share) -> UnsentBuffer:
        """Write `data` to a temporary file. Raises `OSError`."""
        with ExitStack() as stack:
            file = stack.enter_context(TemporaryFile("w+b", buffering=0))
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            file.seek(0)
            stack.pop_all()  # the buffer closes it
        return cls(data, file, share)

    def close(self) -> None:
        super().close()
        self._share.release()
