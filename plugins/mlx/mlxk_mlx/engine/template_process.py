"""Processes that render chat templates, and the time one may take."""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlxk_core.api.processes import ChildProcess, ProcessNotStarted, encode_body
from mlxk_mlx.engine.template_messages import Failure, Request, decode, encode_request

TIME_LIMIT = 10.0
"""Seconds to render one conversation. A conversation that fills a context of a million tokens takes a tenth of it."""
_REDUCED_LIMIT = 1.0
"""Seconds for a template that exceeded a limit within the last minute: the conversations of others wait for it."""
EXCEEDED_SECONDS = 60.0
_MAX_PROCESSES = 4
_POLL_SECONDS = 0.1
_MODULE = "mlxk_mlx.engine.template_worker"


class TemplateRefusal(Exception):
    """The template raised an error: by its own will, or because the conversation has a form it does not expect."""


class TemplateLimit(Exception):
    """The template exceeded a limit of time, memory or output. `reduced`: of the time of one that did so before."""

    reduced = False


class OutputLimit(TemplateLimit):
    """The template writes more than the conversation may become."""


_FAILURES = {"template": TemplateRefusal, "limit": TemplateLimit, "output": OutputLimit}


class RenderProcesses:
    """A pool of worker processes, started when needed and reused for any template."""

    def __init__(self, size: int = _MAX_PROCESSES, *, seconds: float = TIME_LIMIT) -> None:
        self._size = size
        self.seconds = seconds
        self._free = threading.Condition()
        self._idle: list[ChildProcess] = []
        self._started = 0

    def warm_up(self) -> None:
        """Start a process if none is there, so that the first request does not wait for it.

        If that fails, the first request tries again, and reports why.
        """
        with self._free:
            if self._started:
                return
            self._started += 1
        worker = None
        try:
            worker = _start()
        except ProcessNotStarted:
            pass
        finally:
            self._release(worker)

    def render(
        self,
        template: str,
        variables: Mapping[str, Any],
        seconds: float | None = None,
        *,
        code: bool = False,
        waiting: Callable[[], None] = lambda: None,
    ) -> str:
        """Return the text of `template` with `variables` (JSON values), within `seconds` (default: those of the pool).

        With `code` the template is the path of a module whose `apply_chat_template` renders. `waiting` is called ten
        times a second; if it raises, the rendering ends.

        Raises `TemplateRefusal`, `TemplateLimit` (`OutputLimit`), and `ProcessNotStarted`.
        """
        request = encode_request(Request(template, code, variables))
        worker = self._acquire(waiting)
        try:
            response = worker.request_body(encode_body(request), seconds or self.seconds, waiting=waiting)
        except BaseException as error:
            worker.kill()
            self._release(None)
            if isinstance(error, TimeoutError):
                raise TemplateLimit(str(error)) from None
            raise
        if response is None:
            self._release(None)
            raise TemplateLimit("its process was ended by the system, most likely for the memory it used")
        self._release(worker)
        answer = decode(response)
        if isinstance(answer, Failure):
            raise _FAILURES[answer.error](answer.message)
        return answer

    def close(self) -> None:
        """End all idle processes."""
        with self._free:
            workers, self._idle = self._idle, []
            self._started -= len(workers)
        for worker in workers:
            worker.kill()

    def _acquire(self, waiting: Callable[[], None]) -> ChildProcess:
        with self._free:
            while True:
                waiting()
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive:
                        return worker
                    worker.kill()
                    self._started -= 1
                if self._started < self._size:
                    self._started += 1
                    break
                self._free.wait(_POLL_SECONDS)
        try:
            return _start()
        except BaseException:
            self._release(None)
            raise

    def _release(self, worker: ChildProcess | None) -> None:
        with self._free:
            if worker is None:
                self._started -= 1
            else:
                self._idle.append(worker)
            self._free.notify()


class TemplateRenderer:
    """Renders with the template `source`, which sees `special_tokens`; `code` as in `RenderProcesses.render`."""

    def __init__(
        self, processes: RenderProcesses, source: str, special_tokens: Mapping[str, Any], *, code: bool = False
    ) -> None:
        self._processes = processes
        self._source = source
        self._special_tokens = special_tokens
        self._code = code
        self._exceeded = -math.inf
        self._closed = False

    def __call__(self, variables: Mapping[str, Any]) -> str:
        """Return the text. Raises what `RenderProcesses.render` does."""
        reduced = time.monotonic() - self._exceeded < EXCEEDED_SECONDS
        seconds = min(_REDUCED_LIMIT, self._processes.seconds) if reduced else self._processes.seconds
        try:
            known = {**self._special_tokens, **variables}
            return self._processes.render(self._source, known, seconds, code=self._code, waiting=self._check)
        except OutputLimit:  # that took no time
            raise
        except TemplateLimit as error:
            error.reduced = reduced
            self._exceeded = time.monotonic()
            raise

    def close(self) -> None:
        """End what is rendered now, with `TemplateRefusal`, and render nothing more."""
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise TemplateRefusal("its model was not loaded")


def _start() -> ChildProcess:
    return ChildProcess(_MODULE, task="the chat template")


RENDER_PROCESSES = RenderProcesses()
"""The pool of this process."""
atexit.register(RENDER_PROCESSES.close)
