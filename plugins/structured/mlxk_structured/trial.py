"""Trials of grammars that may be too much work, in processes of their own.

llguidance derives an intersection as a whole before it counts the work: twelve short patterns, or two that are chosen
well, take minutes and gigabytes, and nothing can end them. A chain of thousands of references overflows its stack,
which ends the process. Large schemas take seconds to rewrite and to compile.
"""

from __future__ import annotations

import base64
import pickle
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlxk_core.api.generation import Matches, Part, RawString, leaves
from mlxk_core.api.processes import ChildProcess, Slots
from mlxk_structured.lark import GRAMMARS
from mlxk_structured.verdicts import Fault, Verdict

_KEPT = 2
_QUICK_SECONDS = 0.5
_WALL_SECONDS = 20.0
_BUSY_SECONDS = 60.0
"""How long a grammar is refused that was not done in time, but did not use up its CPU time."""
_MODULE = "mlxk_structured.trial_worker"
_TOO_COMPLEX = Verdict(
    Fault("constraint", "it is too complex: its patterns together, its levels of references, or its size", None)
)
# What becomes a regular expression inside `%json`; every `pattern` has been rewritten to begin so.
_STRING_RULE = re.compile(r'"\^\(|"(?:format|minLength|maxLength)": ')


def is_needed(grammar: Part, text: str) -> bool:
    """Return whether `text`, `grammar` as Lark, may intersect regular expressions of the client."""
    parts: Sequence[Part] = tuple(leaves(grammar))
    if any(isinstance(part, Matches) and part.kind in GRAMMARS for part in parts):
        return "&" in text
    return any(
        len(_STRING_RULE.findall(line)) > 1 if "%json" in line else line.count("/(?:") > 1 for line in text.splitlines()
    )


def has_raw_patterns(grammar: Part) -> bool:
    """Return whether `grammar` has patterns of the client for text outside JSON: tool arguments between tags."""
    return any(
        isinstance(part, RawString) and isinstance(part.schema, Mapping) and "pattern" in part.schema
        for part in leaves(grammar)
    )


class Trials:
    """Two processes: most grammars take milliseconds in the first. One that takes longer moves to a lane of its own,
    where it delays only others that take long.

    A start costs a quarter of a second, so processes are kept. A grammar that ends a kept process for its memory or its
    stack may have had little left; it has a second trial, in a fresh process.
    """

    def __init__(self) -> None:
        self._quick = Slots(1)
        self._slow = Slots(1)
        self._lock = threading.Lock()
        self._idle: deque[ChildProcess] = deque()

    def run(self, grammar: Part, waiting: Callable[[], None]) -> Verdict:
        """Return the verdict on `grammar`. Raises what `waiting` raises, which is called ten times a second, and
        `TimeoutError` if the machine is too busy."""
        try:
            request = {"grammar": base64.b64encode(pickle.dumps(grammar)).decode("ascii")}
        except RecursionError:
            return _TOO_COMPLEX
        try:
            verdict = self._run_quickly(request, waiting)
        except _SlowLaneTaken:
            verdict = None
            waiting()
        if verdict is not None:
            return verdict
        with self._slow.hold(waiting):
            response = self._request(self._started(waiting), request, _WALL_SECONDS, waiting)
            return _TOO_COMPLEX if response is None else _verdict(response)

    def _run_quickly(self, request: Mapping[str, Any], waiting: Callable[[], None]) -> Verdict | None:
        """Return the verdict, None if the process ended for what may be its own history.

        `waiting` is called in the slow lane only: a new process takes longer than a quick trial.
        """
        self._quick.take(_no_call)
        lane = self._quick
        try:
            process = self._kept() or self._started(_no_call)
            deadline = time.monotonic() + _QUICK_SECONDS

            def move() -> None:
                nonlocal lane
                if lane is self._slow:
                    waiting()
                elif time.monotonic() > deadline:
                    if not self._slow.take_now():
                        raise _SlowLaneTaken
                    self._quick.give_back()
                    lane = self._slow
                    waiting()

            response = self._request(process, request, _WALL_SECONDS, move)
            if response is None:
                return _TOO_COMPLEX if process.exit_status == -signal.SIGXCPU else None
            return _verdict(response)
        finally:
            lane.give_back()

    def _kept(self) -> ChildProcess | None:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.kill()
            return None

    def _started(self, waiting: Callable[[], None]) -> ChildProcess:
        """Start a process and wait until it reads requests: the start does not count as the time of a trial."""
        process = ChildProcess(_MODULE, task="the grammar")
        self._request(process, {}, _WALL_SECONDS, waiting, keep=False)
        return process

    def _request(
        self,
        process: ChildProcess,
        request: Mapping[str, Any],
        seconds: float,
        waiting: Callable[[], None],
        *,
        keep: bool = True,
    ) -> dict[str, Any] | None:
        try:
            response = process.request(request, seconds, waiting=waiting)
        except BaseException:
            process.kill()
            raise
        if response is not None and keep:
            with self._lock:
                self._idle.append(process)
                while len(self._idle) > _KEPT:
                    self._idle.popleft().kill()
        return response


def _no_call() -> None:
    pass


class _SlowLaneTaken(Exception):
    """A trial takes long, and another one that does is running."""


def _verdict(response: Mapping[str, Any]) -> Verdict:
    fault = response["fault"]
    return Verdict(None if fault is None else Fault(*fault), response["memory"], response["seconds"])


_TRIALS = Trials()


def check(grammar: Part, waiting: Callable[[], None]) -> Verdict:
    """Return the verdict on `grammar`. Raises what `waiting` raises, which is called ten times a second, and
    `ProcessNotStarted`."""
    try:
        return _TRIALS.run(grammar, waiting)
    except TimeoutError:
        return replace(_TOO_COMPLEX, until=time.monotonic() + _BUSY_SECONDS)
