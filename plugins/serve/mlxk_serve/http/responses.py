"""Giving an answer: one thread waits for its generations and writes, whole or as a stream of server-sent events.

Everything a response needs from the server stands here, so that another way of writing (one thread for all streams)
could take this module's place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import falcon

from mlxk_core.api.errors import QueueFull, ShuttingDown
from mlxk_core.api.generation import Event, Finished, Generation, join_events
from mlxk_core.api.server import ResponseEncoder
from mlxk_serve.http.errors import ApiError
from mlxk_serve.http.waitress_server import ON_DISCONNECT
from mlxk_serve.observability.request_log import CLIENT_LEFT, Access

REPLY = "mlxk.reply"
"""The environ's key of the reply that is being given, for who has to end it without having it."""

Told = Callable[[int, Exception], Exception]


class Answers:
    """The events of all choices of one answer, each with its index. Closed by whoever reads it. `told` makes of a
    failure of one of several choices what is raised."""

    def __init__(self, generations: Sequence[Generation], told: Told) -> None:
        self.generations = generations
        self._told = told
        self._events: SimpleQueue[tuple[int, Event | Exception]] | None = None

    def next(self, timeout: float | None) -> tuple[int, Event] | None:
        """The next event of any choice, or None when `timeout` seconds passed without one."""
        if len(self.generations) == 1:
            event = self.generations[0].next(timeout)
            return None if event is None else (0, event)
        if self._events is None:
            self._events = SimpleQueue()
            for index, generation in enumerate(self.generations):
                threading.Thread(
                    target=self._pass_on, args=(index, generation, self._events), name="mlxk-choice", daemon=True
                ).start()
        try:
            index, item = self._events.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(item, Exception):
            raise self._told(index, item)
        return index, item

    def cancel(self) -> None:
        """From any thread."""
        for generation in self.generations:
            generation.cancel()

    def close(self) -> None:
        if self._events is None:
            for generation in self.generations:
                generation.close()
        else:
            self.cancel()  # each one's own thread closes it

    @staticmethod
    def _pass_on(index: int, generation: Generation, events: SimpleQueue[tuple[int, Event | Exception]]) -> None:
        try:
            with generation:
                for event in generation:
                    events.put((index, event))
        except Exception as error:
            events.put((index, error))


class ClientLeft(ApiError):
    """Nobody reads the answer any more."""

    def __init__(self) -> None:
        super().__init__(CLIENT_LEFT, "The client left.", code="client_left")


class Reply:
    """One answer that is being given: its events, until the last, until the client leaves, or until it is cut."""

    def __init__(
        self, answers: Answers, access: Access, watch: Callable[[Callable[[], None] | None], None] | None,
        closed: Callable[[Reply], None],
    ) -> None:  # fmt: skip
        self._answers = answers
        self.access = access
        self._watch = watch
        self._tell_closed = closed
        self._left = False
        self._closed = False
        self._unfinished = len(answers.generations)
        if watch is not None:
            watch(self._client_left)

    @property
    def running(self) -> bool:
        """Whether there are events to come."""
        return self._unfinished > 0

    def next(self, timeout: float | None = None) -> tuple[int, Event] | None:
        """The next event, or None when `timeout` seconds passed. Raises `ClientLeft`, or what went wrong."""
        item = self._answers.next(timeout)
        if self._left:
            raise ClientLeft
        if item is None:
            return None
        self.access.take(item[1])
        if isinstance(item[1], Finished):
            self._unfinished -= 1
            if item[1].reason == "cancelled":
                raise ShuttingDown("The server is shutting down.")
        return item

    def cut(self) -> None:
        """Ends the answer early, from any thread."""
        self._answers.cancel()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch(None)
        self._answers.close()
        self.access.left = self._left and self._unfinished > 0
        self._tell_closed(self)

    def _client_left(self) -> None:
        self._left = True
        self._answers.cancel()


class Replies:
    """All answers that are being given. No more than `limit` at once: each holds a thread, and some must stay free
    for everything else. `full` says what one more is told."""

    def __init__(self, limit: int, full: Callable[[], QueueFull]) -> None:
        self._limit = limit
        self._full = full
        self._lock = threading.Lock()
        self._places = limit
        self._open: set[Reply] = set()
        self._cut = False

    def __len__(self) -> int:
        return self._limit - self._places

    def open(
        self, environ: MutableMapping[str, Any], access: Access, submit: Callable[[], Sequence[Generation]],
        told: Told = lambda index, error: error,
    ) -> Reply:  # fmt: skip
        """Takes a place, submits, and watches the client. Raises `QueueFull` and what `submit` raises."""
        with self._lock:
            if not self._places:
                raise self._full()
            self._places -= 1
        try:
            answers = Answers(submit(), told)
        except BaseException:
            self._free_place()
            raise
        reply = environ[REPLY] = Reply(answers, access, environ.get(ON_DISCONNECT), self._closed)
        with self._lock:
            self._open.add(reply)
            late = self._cut
        if late:
            reply.cut()
        return reply

    def cut(self) -> None:
        """Ends every answer early, those too that are just being opened."""
        with self._lock:
            self._cut = True
            replies = list(self._open)
        for reply in replies:
            reply.cut()

    def _closed(self, reply: Reply) -> None:
        with self._lock:
            self._open.discard(reply)
        self._free_place()

    def _free_place(self) -> None:
        with self._lock:
            self._places += 1


def whole(reply: Reply, encoder: ResponseEncoder, resp: falcon.Response) -> None:
    """Waits for all of the answer and makes it the response's body."""
    events: dict[int, list[Event]] = {}
    try:
        while reply.running:
            item = reply.next()
            assert item is not None
            events.setdefault(item[0], []).append(item[1])
    finally:
        reply.close()
    resp.content_type = falcon.MEDIA_JSON
    resp.data = encoder.whole([join_events(events[index]) for index in sorted(events)])


def stream(reply: Reply, encoder: ResponseEncoder, resp: falcon.Response, *, heartbeat: float) -> None:
    """Makes the answer the response's stream. Waits for its first piece, so that what goes wrong before has a status
    of its own; after `heartbeat` seconds without one the stream begins with a comment."""
    streamed = Stream(reply, encoder, heartbeat)
    streamed.begin()
    resp.content_type = encoder.content_type
    resp.set_header("cache-control", "no-cache")
    resp.set_header("x-accel-buffering", "no")
    resp.stream = streamed


class Stream:
    """The pieces of one answer, as WSGI wants them. A class and no generator: `close` must act before the first
    `next`, too."""

    def __init__(self, reply: Reply, encoder: ResponseEncoder, heartbeat: float) -> None:
        self._reply = reply
        self._encoder = encoder
        self._heartbeat = heartbeat
        self._first: bytes | None = None
        self._ended = False

    def begin(self) -> None:
        """Waits for the first piece. Raises what went wrong before it."""
        try:
            self._first = self._piece()
        except BaseException:
            self._reply.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        if self._ended:
            raise StopIteration
        try:
            return self._piece()
        except ClientLeft:
            self._ended = True
            raise StopIteration from None
        except Exception as error:
            self._ended = True
            return self._encoder.error(self._reply.access.fail(error).info)

    def close(self) -> None:
        """Called by the server, whether all was written or not."""
        self._reply.close()
        self._reply.access.close()

    def _piece(self) -> bytes:
        deadline = time.monotonic() + self._heartbeat
        while self._reply.running:
            item = self._reply.next(max(0.0, deadline - time.monotonic()))
            if item is None:
                if self._encoder.heartbeat:
                    return self._encoder.heartbeat
                deadline = time.monotonic() + self._heartbeat
                continue
            piece = self._encoder.piece(*item)
            if piece:
                return piece
        self._ended = True
        return self._encoder.end()
