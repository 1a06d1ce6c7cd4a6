"""Reading a generation without a connection: its prompt is prepared on a thread of a pool."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from mlxk_core.api.generation import Event, Finished, Generation, Started
from mlxk_serve.http.thread_pool import ThreadPool


def read_events(generation: Generation, pool: ThreadPool, client: str) -> Iterator[Event]:
    """Yield the events of `generation`, those up to `Started` as `pool` reads them in the turns of `client`: meanwhile
    the prompt is rendered and tokenized. Raises what the generation raises."""
    updated = threading.Event()
    generation.on_update(updated.set)
    prepared = False
    while not prepared:
        updated.wait()
        updated.clear()
        read: SimpleQueue[Event | BaseException | None] = SimpleQueue()
        pool.submit(lambda read=read: _read_now(generation, read), client)  # type: ignore[misc]
        while (item := read.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            prepared = isinstance(item, (Started, Finished))
            yield item
    yield from generation


def _read_now(generation: Generation, read: SimpleQueue[Event | BaseException | None]) -> None:
    """Put the events that there are now into `read`, up to `Started`, and None after them."""
    try:
        while (event := generation.next(0)) is not None:
            read.put(event)
            if isinstance(event, (Started, Finished)):
                break
    except BaseException as error:  # a panic in a Rust extension is not an `Exception`, and the reader waits
        read.put(error)
    read.put(None)
