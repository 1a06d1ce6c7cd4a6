"""Looking at one model of many: whatever goes wrong with it, the others are shown."""

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


def examined(session: Session, model: Model, look: Callable[[Entry], _T]) -> _T:
    """What `look` makes of `model`; where it raises what nobody foresaw, what it makes of a model of which nothing is
    known but that. What a plugin raises has been caught by the host; this is for what its answers lead to, and for
    faults of our own. A strict host raises."""
    try:
        return look(Entry(model, session.host))
    except PluginFailure:
        raise
    except Exception as error:
        if session.host.strict:
            raise
        session.output.trace(error)
        return look(FailedEntry(model, session.host, describe_error(error)))


class _NoFacts(Facts):
    framework = "unknown"
    type = "unknown"
    capabilities = ()


@dataclass(frozen=True)
class FailedEntry(Entry):
    """A model that could not be looked at: it counts as damaged, and says what `failed`."""

    failed: str

    size = 0
    modified = None
    quantizations = ()
    views = ()
    runnable = ()
    notes = ()

    @property
    def facts(self) -> Facts:
        return _NoFacts(self.model)

    @property
    def health(self) -> Health:
        told = f"Looking at it failed: {self.failed}. (MLXK_DEBUG=1 shows the traceback.)"
        return Health((Problem("examination_failed", told),))

    @property
    def reason(self) -> str | None:
        return self.health.reason
