"""Responses that wait for generations: what may take long runs on a pool thread, the response thread writes, and a
disconnect cancels."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import falcon

from mlxk_core.api.errors import EngineFailure, ShuttingDown, type_and_message
from mlxk_core.api.generation import Delta, Event, Finished, Generation, Started
from mlxk_core.api.server import ErrorEncoder, ResponseEncoder
from mlxk_serve.http.held_events import HeldEvents
from mlxk_serve.http.response_thread import ResponseThread
from mlxk_serve.http.response_writer import ClientDisconnected, ResponseWriter
from mlxk_serve.http.tasks import Detached
from mlxk_serve.http.thread_pool import ThreadPool
from mlxk_serve.observability.request_log import RequestRecord

_LARGEST_WRITE = 64 << 10
_MOST_UNREAD = 1 << 13
"""Tokens that a stream may be ahead of its reader. Each takes almost a kilobyte."""
_ALTERNATIVES_PER_TOKEN = 8  # that take as much
_MANY_EVENTS = 64
"""Of one token: fewer are encoded in one turn."""
_DECODING_SECONDS = 0.1
"""After this time the other responses of a pool have their turn."""
_TURN_SECONDS = 0.02
"""After this time the other responses of the response thread have their turn."""

MapError = Callable[[int, Exception], Exception]
"""Turns a failure of one of several choices into the error of the response."""


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds: between two signs of life on a stream, and for the preparation of a prompt."""

    heartbeat: float
    prepare: float


@dataclass(frozen=True)
class Pools:
    """The threads of all responses for what may take long: preparing prompts, detokenizers that block, and formats that
    hold much text back."""

    prepare: ThreadPool
    prepare_large: ThreadPool
    decode: ThreadPool
    decode_large: ThreadPool

    def __iter__(self) -> Iterator[ThreadPool]:
        return iter((self.prepare, self.prepare_large, self.decode, self.decode_large))


class GenerationResponse:
    """The response of one request: the events of its generations, written with one encoder.

    Until every prompt is prepared (rendered, tokenized, within its budget) an error has a status of its own; then a
    streamed response begins, and errors are events in it. The generations are closed by this object.
    """

    def __init__(
        self,
        generations: Sequence[Generation],
        encoder: ResponseEncoder,
        record: RequestRecord,
        *,
        streamed: bool,
        encode_error: ErrorEncoder,
        map_error: MapError,
        timeouts: Timeouts,
        response_thread: ResponseThread,
        pools: Pools,
        held_events: HeldEvents,
        client: str,
        large: bool,
        on_end: Callable[[GenerationResponse], None],
    ) -> None:
        self.scheduled = False
        self._generations = generations
        self._encoder = encoder
        self._record = record
        self._streamed = streamed
        self._encode_error = encode_error
        self._map_error = map_error
        self._timeouts = timeouts
        self._response_thread = response_thread
        self._pools = pools
        self._decode_pool = pools.decode_large
        self._prepare_pool = pools.prepare_large if large else pools.prepare
        self._client = client
        self._on_end = on_end
        self._writer: ResponseWriter | None = None
        self._unprepared = list(range(len(generations)))
        self._preparing_since: float | None = None
        self._news = True
        self._undecoded = False
        self._decoding = False
        self._waiting: deque[tuple[int, Event | BaseException]] = deque()
        """Events that are not encoded yet: those read on a pool thread, and the rest of what a token made."""
        self._running: list[int] = []
        self._blocking: list[int] = []
        self._unfinished = len(generations)
        self._held_events = held_events
        self._encoding = False
        self._whole: bytes | BaseException | None = None
        self._held = b""
        self._wrote_at = time.monotonic()
        self._disconnected = False
        self._cut = False
        self._written = False
        self._ended = False
        self._closed = False

    # For other threads.

    def __iter__(self) -> Iterator[bytes]:
        raise Detached(self)

    def start(self) -> None:
        """Begin to prepare the prompts."""
        self._response_thread.add(self)
        for generation in self._generations:
            generation.on_update(self._on_update)

    def attach(self, writer: ResponseWriter) -> None:
        """Write to `writer` from now on."""
        self._writer = writer
        self._response_thread.schedule(self)

    def disconnect(self) -> None:
        """Cancel the generations: the client has left."""
        self._disconnected = True
        self._cancel()

    def cut(self) -> None:
        """End the response now, with an error: the server shuts down."""
        self._cut = True
        self._cancel()

    def discard(self) -> None:
        """Give up a response that could not begin."""
        self._end()
        self._close()

    def _on_update(self) -> None:
        self._news = True
        self._undecoded = True
        self._response_thread.schedule(self)

    def _cancel(self) -> None:
        for generation in self._generations:
            generation.cancel()
        self._response_thread.schedule(self)

    # On the response thread.

    def advance(self, now: float) -> None:
        if self._closed:
            return
        try:
            self._advance(now)
        except ClientDisconnected:
            self._disconnected = True
            self._end()
            self._finish()
        except Exception as error:
            self._fail(error)
        except BaseException as error:  # a panic in a Rust extension, or `sys.exit()` in an encoder
            self._fail(RuntimeError(type_and_message(error)))

    def _advance(self, now: float) -> None:
        writer = self._writer
        preparing = bool(self._unprepared) or self._preparing_since is not None
        if preparing:
            self._prepare(now)
        elif self._blocking and self._undecoded and not self._decoding:
            self._undecoded = False
            self._decoding = True
            self._decode_pool.submit(self._decode_all)
        if writer is None:
            return
        if self._written:
            self._finish()
            return
        if self._disconnected:
            raise ClientDisconnected
        if self._cut:
            raise ShuttingDown("The server is shutting down.")
        congested = self._streamed and writer.congested
        if not congested:
            self._take_events()
        elif self._unread > _MOST_UNREAD:
            self._abort()
            return
        if not self._unfinished:
            self._write_end()
        elif not self._streamed or congested:
            return
        # While another prompt is prepared, its failure still has a status of its own.
        elif (self._held or not writer.begun) and not preparing:
            self._wrote_at = now
            self._write(b"")
        elif now - self._wrote_at >= self._timeouts.heartbeat and self._encoder.heartbeat:
            self._wrote_at = now
            self._write(self._encoder.heartbeat)

    def _prepare(self, now: float) -> None:
        """Let a pool thread render and tokenize: that may take seconds."""
        if self._preparing_since is not None:
            if now - self._preparing_since > self._timeouts.prepare and self._writer is not None:
                raise EngineFailure(f"The prompt could not be prepared within {self._timeouts.prepare:g} s.")
        elif self._unprepared and self._news:
            self._news = False
            self._preparing_since = math.inf  # until a thread of the pool is free
            self._prepare_pool.submit(self._prepare_all, self._client)

    def _prepare_all(self) -> None:
        """On a pool thread: read the events of each generation up to `Started`."""
        self._preparing_since = time.monotonic()
        waiting = []
        for index in self._unprepared:
            try:
                while not self._ended and (event := self._generations[index].next(0)) is not None:
                    self._waiting.append((index, event))
                    if isinstance(event, (Started, Finished)):
                        break
                else:
                    waiting.append(index)
            except StopIteration:
                pass
            except BaseException as error:
                self._waiting.append((index, error))
                break
        self._unprepared = waiting
        self._preparing_since = None
        self._leave_pool()

    def _decode_all(self) -> None:
        """On a pool thread: read the events there are of each generation that blocks, for a while."""
        until = time.monotonic() + _DECODING_SECONDS
        for index in tuple(self._blocking):
            try:
                while not self._ended and (event := self._generations[index].next(0)) is not None:
                    self._waiting.append((index, event))
                    self._response_thread.schedule(self)  # the next event may take long
                    if time.monotonic() > until:
                        self._undecoded = True
                        break
            except StopIteration:
                pass
            except BaseException as error:
                self._waiting.append((index, error))
                break
        self._decoding = False
        self._leave_pool()

    def _leave_pool(self) -> None:
        if self._ended:
            self._close_generations()
        self._response_thread.schedule(self)

    def _take_events(self) -> None:
        """Encode the events there are now, up to the largest write, for a while."""
        until = time.monotonic() + _TURN_SECONDS
        self._take_waiting(until)
        for index in tuple(self._running):
            poll = self._generations[index].poll
            while not self._turn_is_over(until):
                try:
                    events = poll()
                except StopIteration:
                    break
                except Exception as error:
                    raise self._mapped(index, error) from error
                if events is None:
                    break
                if len(events) > _MANY_EVENTS:
                    self._waiting.extend((index, event) for event in events)
                    self._take_waiting(until)
                else:
                    for event in events:
                        self._take(index, event)
                if self._generations[index].heavy and index in self._running:
                    self._running.remove(index)
                    self._read_on_pool(index)
                    break

    def _take_waiting(self, until: float) -> None:
        while self._waiting and not self._turn_is_over(until):
            index, item = self._waiting.popleft()
            if isinstance(item, BaseException):
                raise self._mapped(index, item)
            if isinstance(item, Started):
                self._begin(index)
            self._take(index, item)

    def _turn_is_over(self, until: float) -> bool:
        """Whether to write now, or to let other responses go on."""
        if len(self._held) >= _LARGEST_WRITE:
            return True
        if time.monotonic() < until:
            return False
        self._response_thread.schedule(self)
        return True

    def _begin(self, index: int) -> None:
        """Read the events of a generation from now on, here or on a pool thread."""
        if self._generations[index].blocking:
            self._decode_pool = self._pools.decode
            self._read_on_pool(index)
        else:
            self._running.append(index)

    def _read_on_pool(self, index: int) -> None:
        self._blocking.append(index)
        self._undecoded = True
        self._response_thread.schedule(self)

    def _mapped(self, index: int, error: BaseException) -> Exception:
        if not isinstance(error, Exception):
            return RuntimeError(type_and_message(error))
        return self._map_error(index, error)

    def _take(self, index: int, event: Event) -> None:
        if type(event) is not Delta or self._record.first_token is None:
            self._record.take(event)
        if type(event) is Finished:
            if event.reason == "cancelled":
                raise ShuttingDown("The server is shutting down.")
            self._unfinished -= 1
            for reading in (self._running, self._blocking):
                if index in reading:
                    reading.remove(index)
        if not self._streamed:
            self._held_events.add(index, event)
            return
        self._held += self._encoder.piece(index, event)

    def _write(self, piece: bytes) -> None:
        """Send what is held and `piece`; the first time also status and headers."""
        assert self._writer is not None
        held, self._held = self._held, b""
        if len(held) >= _LARGEST_WRITE:
            self._response_thread.schedule(self)  # there may be more
        self._writer.write(held + piece if piece else held)

    def _write_end(self) -> None:
        writer = self._writer
        assert writer is not None
        body = None if self._streamed else self._whole_body()
        if self._encoding and body is None:
            return
        self._end()  # before the client knows: it may ask again at once
        if body is None:
            self._write(self._encoder.end())
        else:
            writer.set_head(200, {"content-type": falcon.MEDIA_JSON}, length=len(body))
            writer.write(body)
            self._whole = None
            self._held_events.release()  # the client may read slowly
        self._written = True
        self._finish()

    def _whole_body(self) -> bytes | None:
        """Return the body, or None while a pool thread encodes it: that takes seconds where it has many tokens."""
        if not self._held_events.many:
            return self._encoder.whole(self._held_events.completions())
        if not self._encoding:
            self._encoding = True
            self._pools.decode_large.submit(self._encode_whole)
        if isinstance(self._whole, BaseException):
            raise self._whole
        return self._whole

    def _encode_whole(self) -> None:
        """On a pool thread: encode the body."""
        try:
            self._whole = self._encoder.whole(self._held_events.completions())
        except BaseException as error:
            self._whole = error
        self._response_thread.schedule(self)

    @property
    def _unread(self) -> int:
        """The tokens, their alternatives included, that wait until the client reads."""
        events = len(self._waiting) + sum(generation.unread for generation in self._generations)
        alternatives = max((generation.alternatives for generation in self._generations), default=0)
        return events + events * alternatives // _ALTERNATIVES_PER_TOKEN

    def _abort(self) -> None:
        """End a response whose client reads so slowly that what it has not read would fill the memory."""
        assert self._writer is not None
        self._written = True
        self._disconnected = True
        self._end()
        with suppress(ClientDisconnected):
            self._writer.abort()
        self._close()

    def _fail(self, error: Exception) -> None:
        self._end()
        failure = self._record.fail(error)
        writer = self._writer
        assert writer is not None
        try:
            if writer.begun:
                self._write(self._encoder.error(failure.info))
            else:
                body = self._encode_error(failure.info)
                headers = {**failure.headers, "content-type": falcon.MEDIA_JSON}
                self._record.status = failure.status
                writer.set_head(failure.status, headers, length=len(body))
                writer.write(body)
            self._written = True
            self._finish()
        except BaseException:  # the client left, or the encoder cannot write the error
            self._written = True
            with suppress(BaseException):
                if not writer.begun:
                    writer.set_head(500, {}, length=0)
                writer.abort()
            self._close()

    def _finish(self) -> None:
        """Give the connection back, once it can take the last bytes without blocking."""
        writer = self._writer
        if writer is not None:
            if writer.congested and not self._disconnected:
                return
            with suppress(ClientDisconnected):
                writer.finish()
        self._close()

    def _end(self) -> None:
        """Free the places of the request."""
        if not self._ended:
            self._ended = True
            self._record.disconnected = self._disconnected and self._unfinished > 0
            if self._preparing_since is None and not self._decoding:
                self._close_generations()
            else:
                for generation in self._generations:
                    generation.cancel()
            on_end, self._on_end = self._on_end, _forgotten
            on_end(self)

    def _close(self) -> None:
        self._closed = True
        self._held_events.release()
        self._response_thread.remove(self)
        if self._writer is not None:
            self._record.close()
            self._writer = None  # its task refers to this response, and only a collection of garbage would free both

    def _close_generations(self) -> None:
        for generation in self._generations:
            generation.close()
        self._generations = ()  # with their prompts, while the client reads


def _forgotten(response: GenerationResponse) -> None:
    """What the end of a response called referred to the response."""
