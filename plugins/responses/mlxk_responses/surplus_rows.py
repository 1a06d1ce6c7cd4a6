"""Which stored rows are dropped, so that the rest is within the bounds."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from mlxk_responses.store import Bounds


def surplus(rows: Iterable[tuple[int, str, int]], bounds: Bounds) -> list[int]:
    """Return the numbers of the rows to drop: always the oldest of the client that has most.

    `rows` are number, client and bytes of each, the oldest first.
    """
    of_clients = defaultdict[str, deque[tuple[int, int]]](deque)
    for number, client, size in rows:
        of_clients[client].append((number, size))
    counts = {client: len(own) for client, own in of_clients.items()}
    dropped = list(_drop(of_clients, counts, bounds.responses, by_bytes=False))
    sizes = {client: sum(size for _, size in own) for client, own in of_clients.items()}
    return dropped + list(_drop(of_clients, sizes, bounds.bytes, by_bytes=True))


def _drop(
    of_clients: dict[str, deque[tuple[int, int]]], held: dict[str, int], most: int, *, by_bytes: bool
) -> Iterator[int]:
    """Drop rows until all clients together hold at most `most`, and yield their numbers."""
    total = sum(held.values())
    largest = [(-own, client) for client, own in held.items()]
    heapq.heapify(largest)
    while total > most:
        own, client = largest[0]
        number, size = of_clients[client].popleft()
        freed = size if by_bytes else 1
        total -= freed
        heapq.heapreplace(largest, (own + freed, client))
        yield number
