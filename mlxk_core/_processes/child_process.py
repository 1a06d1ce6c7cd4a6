"""A child process that answers requests, one at a time on each of its lanes, within a time limit."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from mlxk_core._errors import Kind, SystemLimit
from mlxk_core._processes.child_messages import LENGTH, encode_message

START_SECONDS = 30.0
"""For a process to start and import its libraries: a second, more on a busy machine."""
_CHUNK = 1 << 16
_POLL_SECONDS = 0.1
_LONGEST_POLL = 0.5
"""What a wait of `_POLL_SECONDS` counts for at most."""


class ProcessNotStarted(SystemLimit):
    """The system could not start a child process, or ended it before its first request."""

    kind = Kind("process_not_started", 1, 503)

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(
            f"Cannot start a process for {task}: {reason}. "
            "The system may be out of memory, processes or file descriptors."
        )


class ChildProcess:
    """The parent's side of `python -m module`, which calls `announce`, reads requests and writes responses.

    `task` is what the process is for, in errors. With `lanes` = 2 the child answers a second request at the same time:
    its argument is the descriptor of a socket for it. Raises `ProcessNotStarted`.
    """

    def __init__(self, module: str, *, task: str, lanes: int = 1) -> None:
        self._task = task
        self._lock = threading.Lock()
        self._active = 0
        self._killed = self._ready = False
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            while len(pairs) < lanes - 1:
                pairs.append(socket.socketpair())
            self._process = subprocess.Popen(
                # -P: a file in the working directory must not shadow a library.
                [sys.executable, "-P", "-m", module, *(str(theirs.fileno()) for _, theirs in pairs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=_working_folder(),
                start_new_session=True,
                pass_fds=[theirs.fileno() for _, theirs in pairs],
            )
        except BaseException as error:
            for ours, _ in pairs:
                ours.close()
            if isinstance(error, OSError):
                raise ProcessNotStarted(task, error.strerror or type(error).__name__) from error
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._lanes: list[tuple[IO[bytes], IO[bytes]]] = [(self._process.stdin, self._process.stdout)]
        for ours, _ in pairs:
            with ours:  # the files keep the socket open
                self._lanes.append((ours.makefile("wb"), ours.makefile("rb")))
        for writer, _ in self._lanes:
            os.set_blocking(writer.fileno(), False)  # a child that was stopped does not read

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How the process ended, as in `subprocess`: negative for a signal. None while it runs."""
        return self._process.poll()

    def request(
        self,
        request: Mapping[str, Any],
        seconds: float,
        *,
        lane: int = 0,
        waiting: Callable[[], None] = lambda: None,
    ) -> dict[str, Any] | None:
        """Return the response, None if the process ended. Raises `TimeoutError` after `seconds`; then `kill` it.

        Arguments and errors are those of `request_body`.
        """
        body = self.request_body(encode_message(request), seconds, lane=lane, waiting=waiting)
        if body is None:
            return None
        response: dict[str, Any] = json.loads(body)
        return response

    def request_body(
        self,
        message: bytes,
        seconds: float,
        *,
        lane: int = 0,
        waiting: Callable[[], None] = lambda: None,
    ) -> bytes | None:
        """Return the response to `message`, both as they were given to `encode_body`; otherwise like `request`.

        `waiting` is called ten times a second; if it raises, `kill` the process as well. One thread at a time may be in
        this call for each lane. The first request is for lane 0; it raises `ProcessNotStarted` if the process ends
        before it is ready.
        """
        with self._lock:
            if self._killed:
                return None
            self._active += 1
        try:
            if not self._ready:
                self._wait_until_ready(waiting)
            return self._request(message, seconds, *self._lanes[lane], waiting)
        finally:
            with self._lock:
                self._active -= 1
                last = self._killed and not self._active
            if last:
                self._close()

    def kill(self) -> None:
        """End the process, also while other threads wait for a response. Called twice, the second call has no effect.

        The pipes are closed when no thread reads from them.
        """
        self._process.kill()
        with self._lock:
            self._killed = True
            last = not self._active
        if last:
            self._close()
        self._process.wait()

    def _wait_until_ready(self, waiting: Callable[[], None]) -> None:
        announced = _read_message(self._lanes[0][1], _TimeLeft(START_SECONDS), waiting)
        if not announced:
            self._process.kill()
            status = self._process.wait()
            reason = f"it was not ready after {START_SECONDS:g} s"
            if announced is not None:
                reason = f"it ended at once, with {f'signal {-status}' if status < 0 else f'exit status {status}'}"
            raise ProcessNotStarted(self._task, reason)
        self._ready = True

    def _request(
        self,
        message: bytes,
        seconds: float,
        writer: IO[bytes],
        reader: IO[bytes],
        waiting: Callable[[], None],
    ) -> bytes | None:
        left = _TimeLeft(seconds)
        try:
            written = _write(writer, message, left, waiting)
            body = _read_message(reader, left, waiting) if written else None
        except OSError:  # it has ended, or was killed
            body = b""
        if body is None:
            raise TimeoutError(f"it takes more than {seconds:g} s")
        if not body:
            self.kill()
            return None
        return body

    def _close(self) -> None:
        for lane in self._lanes:
            for stream in lane:
                try:
                    stream.close()
                except OSError:
                    pass  # what was still to be written has no reader


class _TimeLeft:
    """Seconds that are left to wait. A wait counts for little more than was asked for: if it took longer, this process
    was stopped (Ctrl-Z, a frozen container), as the child probably was."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def wait(self, poll: select.poll) -> bool:
        """Wait for a moment at most. Return whether there is something to read."""
        began = time.monotonic()
        found = poll.poll(min(self.seconds, _POLL_SECONDS) * 1000)
        self.seconds -= min(time.monotonic() - began, _LONGEST_POLL)
        return bool(found)


def _write(stream: IO[bytes], message: bytes, left: _TimeLeft, waiting: Callable[[], None]) -> bool:
    """Write a message to the descriptor of `stream`, which does not block. Return False when the time is up."""
    descriptor = stream.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    rest = memoryview(message)
    while rest:
        if left.seconds <= 0:
            return False
        if not left.wait(poll):
            waiting()
            continue
        try:
            rest = rest[os.write(descriptor, rest[:_CHUNK]) :]
        except BlockingIOError:
            continue
    return True


def _read_message(stream: IO[bytes], left: _TimeLeft, waiting: Callable[[], None]) -> bytes | None:
    """Return the next message without its length: empty at the end of the stream, None when the time is up."""
    head = _read(stream, LENGTH.size, left, waiting)
    return head and _read(stream, LENGTH.unpack(head)[0], left, waiting)


def _working_folder() -> str | None:
    """Return None for the folder of this process, and the root folder if that was deleted: libraries ask for its name
    when they are imported."""
    try:
        os.getcwd()  # noqa: PTH109 - as in the command line
    except OSError:
        return "/"
    return None


def _read(stream: IO[bytes], length: int, left: _TimeLeft, waiting: Callable[[], None]) -> bytes | None:
    """Return `length` bytes, none of them at the end of the stream, and None when the time is up."""
    descriptor = stream.fileno()
    data = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) < length:
        if left.seconds <= 0:
            return None
        if not left.wait(poll):
            waiting()
            continue
        piece = os.read(descriptor, min(_CHUNK, length - len(data)))
        if not piece:
            return b""
        data += piece
    return bytes(data)
