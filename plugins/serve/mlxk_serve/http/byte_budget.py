"""Budgets of bytes that all connections share: what they receive and what they have not sent yet."""

from __future__ import annotations

import threading
from collections import Counter, deque
from contextlib import ExitStack
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO

from waitress.buffers import ReadOnlyFileBasedBuffer

_CLIENT_SHARE = 0.75


class ByteBudget:
    """At most `most` bytes at once, of which a client has three fourths of what the others leave. Safe to use from any
    thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._held = 0
        self._of_clients = Counter[str]()
        self._given_back: deque[tuple[int, str | None]] = deque()

    def take(self, count: int, client: str | None = None) -> bool:
        """Take `count` bytes; False, and none is taken, if they are not free for `client` (None: not known)."""
        with self._lock:
            while self._given_back:
                self._free(*self._given_back.popleft())
            if self._held + count > self.most:
                return False
            if client is not None:
                own = self._of_clients[client]
                if own + count > _CLIENT_SHARE * (self.most - (self._held - own)):
                    return False
                self._of_clients[client] += count
            self._held += count
            return True

    def give_back(self, count: int, client: str | None = None) -> None:
        """Give back bytes. Without the lock: a collection of garbage may call it at any place, even with that held."""
        self._given_back.append((count, client))

    def _free(self, count: int, client: str | None) -> None:
        self._held -= count
        if client is not None:
            self._of_clients[client] -= count
            if not self._of_clients[client]:
                del self._of_clients[client]


class Share:
    """What one holder has of a budget. It is given back with the last reference, too."""

    def __init__(self, budget: ByteBudget, client: str | None = None) -> None:
        self._budget = budget
        self._client = client
        self._count = 0

    def grow_to(self, count: int) -> bool:
        """Hold `count` bytes in all, or return False; a share never shrinks."""
        if count > self._count:
            if not self._budget.take(count - self._count, self._client):
                return False
            self._count = count
        return True

    def release(self) -> None:
        count, self._count = self._count, 0
        if count:
            self._budget.give_back(count, self._client)

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
