"""The memory of checks: which constraints were found valid lately, and what is wrong with the others."""

from __future__ import annotations

import hashlib
import math
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlxk_core.api.errors import InvalidConstraint
from mlxk_core.api.generation import Matches, Part
from mlxk_core.api.processes import Slots

_KEPT = 1024
_LONGEST = 2_000
"""Characters of a reason or a path that is kept."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a constraint is refused, with the arguments of `InvalidConstraint`."""

    kind: str
    reason: str
    path: str | None

    @classmethod
    def of(cls, error: InvalidConstraint) -> Fault:
        return cls(error.option, error.reason[:_LONGEST], error.path[:_LONGEST] if error.path else error.path)

    def error(self) -> InvalidConstraint:
        return InvalidConstraint(self.kind, self.reason, path=self.path)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a check. `memory` is about what the constraint takes once it is compiled, in bytes, `seconds` the
    CPU time of the check.

    It holds until `until`, in monotonic seconds: one that took too long on a busy machine may be tried again later.
    """

    fault: Fault | None = None
    memory: int = 0
    seconds: float = 0.0
    until: float = math.inf


class Verdicts:
    """The last verdicts, by fingerprint. Of several checks of one constraint at once, one does the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._slots: dict[str, tuple[Slots, int]] = {}

    def find(self, key: str) -> Verdict | None:
        with self._lock:
            verdict = self._verdicts.get(key)
            if verdict is None or verdict.until < time.monotonic():
                return None
            self._verdicts.move_to_end(key)
            return verdict

    def remember(self, key: str, verdict: Verdict) -> None:
        with self._lock:
            self._verdicts[key] = verdict
            while len(self._verdicts) > _KEPT:
                self._verdicts.popitem(last=False)

    @contextmanager
    def alone(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Let one thread at a time into the `with` block for `key`. `waiting` as in `Slots.hold`."""
        with self._lock:
            slots, count = self._slots.get(key, (Slots(1), 0))
            self._slots[key] = slots, count + 1
        try:
            with slots.hold(waiting):
                yield
        finally:
            with self._lock:
                slots, count = self._slots[key]
                if count == 1:
                    del self._slots[key]
                else:
                    self._slots[key] = slots, count - 1


_KNOWN: dict[int, tuple[weakref.ref[Matches], str]] = {}
"""Fingerprints of parts that are in use, by identity: many rows may share a large schema."""


def fingerprint(grammar: Part) -> str:
    """Return what identifies `grammar`, in a few bytes. Raises `RecursionError` for one that is nested too deep."""
    key = id(grammar)
    known = _KNOWN.get(key)
    if known is not None and known[0]() is grammar:
        return known[1]
    found = hashlib.blake2b(repr(grammar).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    if isinstance(grammar, Matches):
        _KNOWN[key] = weakref.ref(grammar, lambda _: _KNOWN.pop(key, None)), found
    return found
