"""Trials of grammars that intersect regular expressions, or have many levels, in processes of their own.

llguidance derives an intersection as a whole before it counts the work: twelve short patterns, or two that are chosen
well, take minutes and gigabytes, and nothing can end them. A chain of thousands of references overflows its stack,
which ends the process.
"""

from __future__ import annotations

import pickle
import re
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part, RawString, leaves
from mlxk_structured.trial_messages import Outcome, read_message, write_message

_WALL_SECONDS = 20.0
_PROCESSES = 2
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
    """Raise what `Compiler.check` raises, and `InvalidConstraint` for a grammar that takes too long."""
    outcome = _TRIALS.outcome(pickle.dumps(grammar))
    if outcome is None:
        raise InvalidConstraint("constraint", "it is too complex: its patterns together, or its levels of references")
    if outcome.error is not None:
        kind, reason, path = outcome.error
        raise InvalidConstraint(kind, reason, path=path)


class _TrialProcess:
    """A process that tries one grammar after another. It ends after a minute without any."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            # -P: a file in the working directory must not shadow a library.
            [sys.executable, "-P", "-m", "mlxk_structured.trial_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def outcome(self, message: bytes) -> Outcome | None:
        """Return the outcome of the grammar in `message`; None without one: then `end` the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            write_message(self._process.stdin, message)
            if not select.select([self._process.stdout], [], [], _WALL_SECONDS)[0]:
                return None
            answer = read_message(self._process.stdout)
        except OSError:
            return None
        return Outcome(*pickle.loads(answer)) if answer else None

    def end(self) -> bool:
        """End the process; return whether it had ended by itself, without a grammar."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            status = self._process.wait(0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except OSError:
                pass  # what was still to be written has no reader
        return status == 0


class _Trials:
    """Up to `_PROCESSES` trial processes. A start costs a quarter of a second, a trial a few milliseconds."""

    def __init__(self) -> None:
        self._slots = threading.Semaphore(_PROCESSES)
        self._lock = threading.Lock()
        self._idle: list[_TrialProcess] = []

    def outcome(self, message: bytes) -> Outcome | None:
        """Return the outcome of the grammar in `message`, None if it takes too much time, memory or stack."""
        with self._slots:
            process = self._take()
            outcome = process.outcome(message)
            if outcome is None and process.end():  # its idle time was over just now
                process = _TrialProcess()
                outcome = process.outcome(message)
            if outcome is None or outcome.is_last:
                process.end()
            else:
                with self._lock:
                    self._idle.append(process)
            return outcome

    def _take(self) -> _TrialProcess:
        with self._lock:
            idle, self._idle = self._idle, []
            living = [process for process in idle if process.alive]
            chosen = living.pop() if living else None
            self._idle = living
        for process in idle:
            if process is not chosen and process not in living:
                process.end()
        return chosen or _TrialProcess()


_TRIALS = _Trials()
