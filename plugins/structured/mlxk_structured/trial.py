"""Trials of grammars that intersect regular expressions, or have many levels, in processes of their own.

llguidance derives an intersection as a whole before it counts the work: twelve short patterns, or two that are chosen
well, take minutes and gigabytes, and nothing can end them. A chain of thousands of references overflows its stack,
which ends the process.
"""

from __future__ import annotations

import base64
import pickle
import re
import signal
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, RawString, leaves
from mlxk_core.api.processes import ChildProcess

_WALL_SECONDS = 20.0
_PROCESSES = 2
_MODULE = "mlxk_structured.trial_worker"
# What becomes a regular expression inside `%json`; every `pattern` has been rewritten to begin so.
_STRING_RULE = re.compile(r'"\^\(|"(?:format|minLength|maxLength)": ')


def is_needed(grammar: Part, text: str) -> bool:
    """Return whether `text`, `grammar` as Lark, may intersect regular expressions of the client."""
    parts: Sequence[Part] = tuple(leaves(grammar))
    if any(isinstance(part, Matches) and part.kind in ("lark", "gbnf") for part in parts):
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


def check(grammar: Part) -> None:
    """Raise what `Compiler.check` raises, and `InvalidConstraint` for a grammar that takes too long, and
    `ProcessNotStarted`."""
    try:
        response = _TRIALS.run(grammar)
    except TimeoutError:
        response = None
    if response is None:
        raise InvalidConstraint("constraint", "it is too complex: its patterns together, or its levels of references")
    if response["error"] is not None:
        kind, reason, path = response["error"]
        raise InvalidConstraint(kind, reason, path=path)


class _Trials:
    """Up to `_PROCESSES` processes. A start costs a quarter of a second, a trial a few milliseconds."""

    def __init__(self) -> None:
        self._slots = threading.Semaphore(_PROCESSES)
        self._idle: deque[ChildProcess] = deque()

    def run(self, grammar: Part) -> dict[str, Any] | None:
        """Return the response of the worker, None if `grammar` takes too much CPU time, memory or stack.

        Raises `TimeoutError` after `_WALL_SECONDS`, and `ProcessNotStarted`.
        """
        request = {"grammar": base64.b64encode(pickle.dumps(grammar)).decode("ascii")}
        with self._slots:
            try:
                process = self._idle.pop()
            except IndexError:
                return self._request(_start(), request)
            response = self._request(process, request)
            if response is None and process.exit_status != -signal.SIGXCPU:
                # It may have been ended before, or have had little of its memory left.
                response = self._request(_start(), request)
            return response

    def _request(self, process: ChildProcess, request: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            response = process.request(request, _WALL_SECONDS)
        except BaseException:
            process.kill()
            raise
        if response is not None:
            self._idle.append(process)
        return response


def _start() -> ChildProcess:
    return ChildProcess(_MODULE, task="the grammar")


_TRIALS = _Trials()
