"""Loads that failed because of the model's files: the same files fail again, and may take a minute each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

from mlxk_core._errors import BrokenModel, MlxkError, UnsupportedModel
from mlxk_core._generation.jobs import ResidentKey
from mlxk_core._models.model import Model

_TIMES_AS_LONG = 10.0
"""For so many times the seconds that a load took its error is kept: those who ask again and again take up a tenth of
the time at most."""
_LONGEST = 600.0
"""Seconds that an error is kept."""
_MOST = 256


class _Failure(NamedTuple):
    model: Model
    error: MlxkError
    until: float


class FailedLoads:
    """Errors of models whose files did not change since. Of the engine thread."""

    def __init__(self) -> None:
        self._failures: OrderedDict[ResidentKey, _Failure] = OrderedDict()

    def note(self, key: ResidentKey, error: Exception, seconds: float) -> None:
        """Keep `error` if it is one of the files: a load of `key` raised it after `seconds`.

        The model of `key` has noted the versions of its files.
        """
        self._failures.pop(key, None)
        if isinstance(error, (BrokenModel, UnsupportedModel)):
            kept = error.with_traceback(None)  # whose frames hold what was loaded
            kept.__cause__ = kept.__context__ = None
            until = time.monotonic() + min(_LONGEST, _TIMES_AS_LONG * seconds)
            self._failures[key] = _Failure(key[0], kept, until)
            while len(self._failures) > _MOST:
                self._failures.popitem(last=False)

    def error_of(self, key: ResidentKey) -> MlxkError | None:
        """Return the error of the last load of the same files, None if there was none of late.

        The model of `key` has noted the versions of its files.
        """
        failure = self._failures.get(key)
        if failure is None:
            return None
        model = key[0]
        unchanged = model.settings == failure.model.settings and model.has_same_files(failure.model)
        if time.monotonic() >= failure.until or not unchanged:
            del self._failures[key]
            return None
        return failure.error.with_data(failure.error.data)  # each request has its own
