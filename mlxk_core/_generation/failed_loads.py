"""Loads that failed because of the model's files: the same files fail again, and may take a minute each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

from mlxk_core._errors import BrokenModel, MlxkError, UnsupportedModel
from mlxk_core._generation.jobs import ResidentKey
from mlxk_core._models.model import Model
from mlxk_core._settings.sections import ModelSettings

_TIMES_AS_LONG = 10.0
"""For so many times the seconds that a load took its error is kept: those who ask again and again take up a tenth of
the time at most."""
_LONGEST = 600.0
"""Seconds that an error is kept."""
_MOST = 256


class _Failure(NamedTuple):
    files: bytes
    settings: ModelSettings
    error: MlxkError
    until: float


class FailedLoads:
    """Errors of models whose files did not change since. Of the engine thread.

    A model that is asked about has noted the versions of its files. It is not kept: it may have read megabytes of them.
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[ResidentKey, _Failure] = OrderedDict()

    def note(self, model: Model, backend: str, error: Exception, seconds: float) -> None:
        """Keep `error`, with which a load ended after `seconds`, if it is one of the files."""
        key = (replace(model), backend)
        self._failures.pop(key, None)
        if isinstance(error, (BrokenModel, UnsupportedModel)):
            until = time.monotonic() + min(_LONGEST, _TIMES_AS_LONG * seconds)
            self._failures[key] = _Failure(model.files_digest, model.settings, error.detached(), until)
            while len(self._failures) > _MOST:
                self._failures.popitem(last=False)

    def error_of(self, model: Model, backend: str) -> MlxkError | None:
        """Return the error of the last load of the same files, None if there was none of late."""
        failure = self._failures.get((model, backend))
        if failure is None:
            return None
        unchanged = (model.settings, model.files_digest) == (failure.settings, failure.files)
        if time.monotonic() >= failure.until or not unchanged:
            del self._failures[model, backend]
            return None
        return failure.error.detached()  # each request has its own
