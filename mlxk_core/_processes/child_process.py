"""A child process that answers one request at a time, within a time limit."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from mlxk_core._processes.child_messages import LENGTH, encode_message

_CHUNK = 1 << 16


class ChildProcess:
    """The parent's side of `python -m module`, which reads requests and writes responses (`child_messages`)."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not shadow a library.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How the process ended, as in `subprocess`: negative for a signal. None while it runs."""
        return self._process.poll()

    def request(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | None:
        """Return the response, None if the process ended. Raises `TimeoutError` after `seconds`; then `kill` it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        message = encode_message(request)
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has ended, or was killed
            self.kill()
            return None
        head = _read(self._process.stdout, LENGTH.size, deadline)
        body = head and _read(self._process.stdout, LENGTH.unpack(head)[0], deadline)
        if body is None:
            raise TimeoutError(f"it takes more than {seconds:g} s")
        if not body:
            self.kill()
            return None
        response: dict[str, Any] = json.loads(body)
        return response

    def end(self) -> None:
        """End the process and leave its pipes open: another thread may be reading from them."""
        self._process.kill()

    def kill(self) -> None:
        """End the process. Called twice, the second call has no effect."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except OSError:
                pass  # what was still to be written has no reader
        self._process.wait()


def _read(stream: IO[bytes], length: int, deadline: float) -> bytes | None:
    """Return `length` bytes, none of them at the end of the stream, and None when the time is up."""
    descriptor = stream.fileno()
    data = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) < length:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return None
        piece = os.read(descriptor, min(_CHUNK, length - len(data)))
        if not piece:
            return b""
        data += piece
    return bytes(data)
