"""What clients wait for, so that each of them has its turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_Client = TypeVar("_Client", bound=Hashable)
_Item = TypeVar("_Item")


class ClientQueues(Generic[_Client, _Item]):
    """A queue for each client that waits, in the order of their turns: who was served last comes last."""

    def __init__(self) -> None:
        self._queues: OrderedDict[_Client, deque[_Item]] = OrderedDict()

    def __iter__(self) -> Iterator[_Client]:
        return iter(self._queues)

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __len__(self) -> int:
        """The number of items in all queues."""
        return sum(map(len, self._queues.values()))

    def append(self, client: _Client, item: _Item) -> None:
        """Append `item` to the queue of `client`."""
        self._queues.setdefault(client, deque()).append(item)

    def first(self, client: _Client) -> _Item:
        """Return the first item of `client`, which waits."""
        return self._queues[client][0]

    def take(self, client: _Client) -> _Item:
        """Take the first item of `client`, which waits: its next turn is after those of the others."""
        queue = self._queues.pop(client)
        item = queue.popleft()
        if queue:
            self._queues[client] = queue
        return item

    def discard(self, client: _Client, item: _Item) -> None:
        """Remove `item` from the queue of `client` if it is there."""
        queue = self._queues.get(client, deque())
        if item in queue:
            queue.remove(item)
            if not queue:
                del self._queues[client]
