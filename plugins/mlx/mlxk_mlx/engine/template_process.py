"""Processes that render chat templates, and the time one may take."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

from mlxk_core.api.errors import EngineFailure
from mlxk_mlx.engine.template_wire import LENGTH, encode_message

TIME_LIMIT = 10.0
"""Seconds to render one conversation. A conversation that fills a context of a million tokens takes a tenth of it."""
_MAX_PROCESSES = 4
_CHUNK = 1 << 16


class TemplateRefusal(Exception):
    """The template raised an error: by its own will, or because the conversation has a form it does not expect."""


class TemplateLimit(Exception):
    """The template exceeded a limit of time, memory or output."""


class RenderProcesses:
    """A pool of worker processes, started when needed and reused for any template."""

    def __init__(self, size: int = _MAX_PROCESSES, *, seconds: float = TIME_LIMIT) -> None:
        self._size = size
        self._seconds = seconds
        self._free = threading.Condition()
        self._idle: list[_Worker] = []
        self._started = 0

    def warm_up(self) -> None:
        """Start a process if none is there, so that the first request does not wait for it."""
        with self._free:
            if self._started:
                return
            self._started += 1
        self._release(_Worker())

    def render(self, template: str, variables: Mapping[str, Any]) -> str:
        """Return the text of `template` with `variables` (JSON values).

        Raises `TemplateRefusal`, `TemplateLimit`, and `EngineFailure` if no process can be started.
        """
        worker = self._acquire()
        try:
            response = worker.request({"template": template, "variables": variables}, self._seconds)
        except BaseException:
            worker.kill()
            self._release(None)
            raise
        if response is None:
            self._release(None)
            raise TemplateLimit("its process was ended by the system, most likely for the memory it used")
        self._release(worker)
        if "text" in response:
            return str(response["text"])
        if response["error"] == "limit":
            raise TemplateLimit(response["message"])
        raise TemplateRefusal(response["message"])

    def close(self) -> None:
        """End all idle processes."""
        with self._free:
            workers, self._idle = self._idle, []
            self._started -= len(workers)
        for worker in workers:
            worker.kill()

    def _acquire(self) -> _Worker:
        with self._free:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive:
                        return worker
                    worker.kill()
                    self._started -= 1
                if self._started < self._size:
                    self._started += 1
                    break
                self._free.wait()
        try:
            return _Worker()
        except OSError as error:
            self._release(None)
            raise EngineFailure(f"Cannot start a process for the chat template: {error}.") from error

    def _release(self, worker: _Worker | None) -> None:
        with self._free:
            if worker is None:
                self._started -= 1
            else:
                self._idle.append(worker)
            self._free.notify()


class _Worker:
    """The parent's side of one process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not shadow a library.
            [sys.executable, "-P", "-m", "mlxk_mlx.engine.template_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def request(self, request: Mapping[str, Any], seconds: float) -> dict[str, str] | None:
        """Return the response, None if the process ended. Raises `TemplateLimit` when the time is up."""
        assert self._process.stdin is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        try:
            self._process.stdin.write(encode_message(request))
            self._process.stdin.flush()
        except BrokenPipeError:
            self.kill()
            return None
        head = _read(self._process.stdout, LENGTH.size, deadline)
        body = head and _read(self._process.stdout, LENGTH.unpack(head)[0], deadline)
        if body is None:
            raise TemplateLimit(f"it takes more than {seconds:g} s")
        if not body:
            self.kill()
            return None
        response: dict[str, str] = json.loads(body)
        return response

    def kill(self) -> None:
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


RENDER_PROCESSES = RenderProcesses()
"""The pool of this process."""
atexit.register(RENDER_PROCESSES.close)
