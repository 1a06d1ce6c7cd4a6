"""Background responses: generations that run without a connection and can be polled, streamed and cancelled."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import msgspec

from mlxk_core.api.errors import EngineFailure, MlxkError, PluginFailure, kind_of
from mlxk_core.api.generation import Event, Generation
from mlxk_core.api.server import Cancellation, ErrorInfo
from mlxk_responses.encoder import ResponsesEncoder
from mlxk_responses.event_log import EventLog
from mlxk_responses.store import Bounds

_LOGGER = logging.getLogger("mlxk.responses")
_KEPT = 64
"""Finished runs whose events can still be streamed."""
_PULSE = 15.0
_LARGEST_PIECE = 16 << 10
Submit = Callable[[], Generation]
Read = Callable[[Generation], Iterator[Event]]
"""Yields the events of a generation."""


class Run:
    """One background response, whose request has about `request_size` bytes: its thread alone holds that."""

    def __init__(self, id: str, owner: str, client: str, *, request_size: int) -> None:
        self.id = id
        self.owner = owner
        self.client = client
        self._generation: Generation | None = None
        self._request_size = request_size
        self._events = EventLog()
        self._changed = threading.Condition()
        self._over = False
        self._ended_at = float("inf")
        self._body = b""
        self._state: tuple[object, ...] = ()

    @property
    def over(self) -> bool:
        """Whether the response is complete, failed or cancelled."""
        return self._over

    @property
    def ended_at(self) -> float:
        """Monotonic seconds; infinity while it runs."""
        return self._ended_at

    @property
    def size(self) -> int:
        """Bytes of its events and its body so far, and of its request while it runs."""
        return self._events.size + len(self._body) + self._request_size

    def body(self) -> bytes:
        """Return the response object as it is now."""
        with self._changed:
            return self._body

    def cancel(self) -> None:
        """End the generation and wait until the response has its final status."""
        if (generation := self._generation) is not None:
            generation.cancel()
        with self._changed:
            self._changed.wait_for(lambda: self._over, timeout=30)

    def start(self, submit: Submit, read: Read, encoder: ResponsesEncoder, on_end: Callable[[], None]) -> bytes:
        """Go on by itself and call `on_end` after the last event. Return the response object as it begins, `queued`.
        Raises what `submit` raises."""
        self._take(encoder, encoder.begin())
        begun = self._body
        submitted: SimpleQueue[BaseException | None] = SimpleQueue()
        # Not on the request's thread: what that submits ends with its connection.
        work = (submit, read, encoder, submitted, on_end)
        threading.Thread(target=self._execute, args=work, name="mlxk-background", daemon=True).start()
        if (error := submitted.get()) is not None:
            raise error
        return begun

    def _execute(
        self,
        submit: Submit,
        read: Read,
        encoder: ResponsesEncoder,
        submitted: SimpleQueue[BaseException | None],
        on_end: Callable[[], None],
    ) -> None:
        try:
            self._generation = generation = submit()
        except BaseException as error:  # a panic in a Rust extension is not an `Exception`, and the request waits
            self._end()
            submitted.put(error)
            return
        submitted.put(None)
        try:
            with generation:
                for event in read(generation):
                    self._take(encoder, encoder.piece(0, event))
        except Exception as error:
            if not isinstance(error, MlxkError):
                _LOGGER.exception("background response %s failed", self.id)
            self._take(encoder, encoder.error(_error(error)))
        finally:
            self._end()
            on_end()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._ended_at = time.monotonic()
            self._generation = None  # it holds the request, which may be megabytes
            self._request_size = 0
            self._changed.notify_all()

    def stream(self, after: int, cancellation: Cancellation) -> Iterator[bytes]:
        """Yield the events whose sequence number is above `after`, those to come included."""
        place = max(0, after + 1)
        cancellation.on_cancel(self._wake)
        while True:
            cancellation.check()
            with self._changed:
                if len(self._events) <= place and not self._over and not cancellation.cancelled:
                    self._changed.wait(_PULSE)
                new, over = self._events.since(place), self._over
            place += len(new)
            if new:
                yield from _joined(new)
            elif over:
                return
            else:
                yield ResponsesEncoder.heartbeat

    def stream_error(self, error: ErrorInfo) -> bytes:
        """Return the event that ends a stream of it which cannot go on, while the response itself may."""
        with self._changed:
            return ResponsesEncoder.stream_error(len(self._events), error)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _take(self, encoder: ResponsesEncoder, events: bytes) -> None:
        if not events:
            return
        response = encoder.response
        # Text is added to the response when its item ends: encoding it after every token would be quadratic.
        state = (response.status, len(response.output), response.usage, response.error)
        with self._changed:
            self._events.add(events)
            if state != self._state:
                self._state = state
                self._body = msgspec.json.encode(response)
            self._changed.notify_all()


def _joined(events: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the events, small ones together. All of them together would be megabytes for each of many slow readers."""
    held, size = [], 0
    for event in events:
        held.append(event)
        size += len(event)
        if size >= _LARGEST_PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


class Runs:
    """The background responses of one server: all that run, and the last ones that ended, within `bounds`."""

    def __init__(self, bounds: Bounds) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        self._bounds = bounds

    def full(self, client: str, places: int) -> bool:
        """Return whether `client` has no place left, or what runs now takes all bytes there are, or half of them for
        this client."""
        with self._lock:
            running = [run for run in self._runs.values() if not run.over]
        mine = [run for run in running if run.client == client]
        full = sum(run.size for run in running) >= self._bounds.bytes
        return full or len(mine) >= places or sum(run.size for run in mine) >= self._bounds.bytes // 2

    def start(self, run: Run, submit: Submit, read: Read, encoder: ResponsesEncoder) -> bytes:
        """Run `run` in the background, and return what `Run.start` does. Raises what `submit` raises."""
        begun = run.start(submit, read, encoder, self._drop_ended)
        with self._lock:
            self._runs[run.id] = run
        self._drop_ended()
        return begun

    def _drop_ended(self) -> None:
        """Forget the runs that ended too long ago, then the oldest ones that are too many or too large."""
        with self._lock:
            ended = sorted((run for run in self._runs.values() if run.over), key=lambda run: run.ended_at, reverse=True)
            total, oldest = 0, time.monotonic() - self._bounds.age
            for place, run in enumerate(ended):
                total += run.size
                if place >= _KEPT or total > self._bounds.bytes or run.ended_at <= oldest:
                    del self._runs[run.id]

    def find(self, id: str, owner: str) -> Run | None:
        """Return the run of that owner, or None."""
        self._drop_ended()
        with self._lock:
            run = self._runs.get(id)
        return run if run is not None and run.owner == owner else None

    def delete(self, id: str, owner: str) -> bool:
        """Cancel and forget a run. Return False if the owner has none of that id."""
        run = self.find(id, owner)
        if run is None:
            return False
        run.cancel()
        with self._lock:
            return self._runs.pop(id, None) is not None  # of several deletions at once, one did it


def _error(error: Exception) -> ErrorInfo:
    """Return what the client may know: messages of engines and plugins may contain text of other requests."""
    if not isinstance(error, MlxkError) or isinstance(error, (EngineFailure, PluginFailure)):
        return ErrorInfo(status=500, message="The server failed on this request.", type="server_error")
    kind = kind_of(error)
    return ErrorInfo(status=kind.http_status, message=str(error), type="server_error", code=kind.type)
