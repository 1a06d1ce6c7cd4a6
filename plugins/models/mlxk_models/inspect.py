"""Inspection of one model among many, so that a failure with one does not hide the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlxk_core.api import Model
from mlxk_core.api.commands import Session
from mlxk_core.api.errors import PluginFailure
from mlxk_core.api.host import describe_error
from mlxk_core.api.models import Facts, Health, Problem
from mlxk_models.entry import Entry

_T = TypeVar("_T")


def inspect_model(session: Session, model: Model, look: Callable[[Entry], _T]) -> _T:
    """Return `look(entry)` of the model's entry; if that raises unexpectedly, of a `FailedEntry` with the error.

    Errors of plugins are caught by the host; this is for errors that their results cause. A strict host raises.
    """
    try:
        return look(Entry(model, session.host))
    except PluginFailure:
        raise
    except Exception as error:
        if session.host.strict:
            raise
        session.output.trace(error)
        return look(FailedEntry(model, session.host, describe_error(error)))


class _UnknownFacts(Facts):
    framework = "unknown"
    type = "unknown"
    capabilities = ()


@dataclass(frozen=True)
class FailedEntry(Entry):
    """A model that could not be inspected. It counts as damaged; `error` says why."""

    error: str

    size = 0
    modified = None
    quantizations = ()
    views = ()
    runnable = ()
    notes = ()

    @property
    def facts(self) -> Facts:
        return _UnknownFacts(self.model)

    @property
    def health(self) -> Health:
        message = f"Cannot inspect the model: {self.error}. MLXK_DEBUG=1 shows the traceback."
        return Health((Problem("examination_failed", message),))

    @property
    def reason(self) -> str | None:
        return self.health.reason
