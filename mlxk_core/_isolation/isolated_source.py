"""Isolation of model sources: a source that fails offers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core._errors import MlxkError
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.specs import ModelSource
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.isolation import Isolation
from mlxk_core._isolation.stdout import quiet_stdout

if TYPE_CHECKING:
    from mlxk_core._models.model import Model


class IsolatedSource:
    """A model source of a plugin. Only an `MlxkError` of `find` passes through, as the protocol allows."""

    def __init__(self, isolation: Isolation, owner: Plugin, source: ModelSource) -> None:
        self._isolation = isolation
        self._owner = owner
        self._source = source

    def names(self) -> Iterable[str]:
        names, source = partial(names_of, self._source), _method(self._source, "names")
        return self._isolation.guard(self._owner, "names()", names, default=(), source=source)

    def find(self, name: str, /) -> Model | None:
        find, source = partial(self._find, name), _method(self._source, "find")
        answer = self._isolation.guard(self._owner, f"find({name!r})", find, default=None, source=source)
        if isinstance(answer, MlxkError):
            raise answer
        return answer

    @property
    def fetch(self) -> Callable[[str, Callable[[int], None]], Model]:
        """The source's own `fetch`; absent if it has none. Its errors are raised."""
        if not callable(getattr(self._source, "fetch", None)):
            raise AttributeError("fetch")
        return self._fetch

    def _fetch(self, name: str, report: Callable[[int], None], /) -> Model:
        from mlxk_core._models.model import Model

        fetch: Callable[[str, Callable[[int], None]], object] = self._source.fetch  # type: ignore[attr-defined]
        try:
            with quiet_stdout():
                model = fetch(name, report)
            if not isinstance(model, Model):
                raise TypeError(f"it returns {type(model).__name__}, not Model")
            return model
        except MlxkError:
            raise
        except (Exception, SystemExit) as error:
            finding = Finding.of_error(f"fetch({name!r}) raised", error, self._owner.packages, fetch)
            raise self._isolation.record(self._owner, finding, error) from error

    def _find(self, name: str) -> Model | MlxkError | None:
        try:
            return find_in(self._source, name)
        except MlxkError as error:
            return error


def names_of(source: ModelSource) -> tuple[str, ...]:
    """Return the names that `source` offers. Raises `TypeError` if one is not a string."""
    names = source.names()
    if isinstance(names, str):
        raise TypeError("it returns a string, not several names")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"it returns {type(name).__name__}, not str")
    return names


def find_in(source: ModelSource, name: str) -> Model | None:
    """Return the model of that name in `source`. Raises `TypeError` if it returns anything else."""
    from mlxk_core._models.model import Model  # not needed for `mlxk --help`

    model = source.find(name)
    if model is not None and not isinstance(model, Model):
        raise TypeError(f"it returns {type(model).__name__}, not Model")
    return model


def _method(source: object, name: str) -> object:
    """Return the method, or the class if it has none: where a wrong result comes from."""
    return getattr(source, name, type(source))
