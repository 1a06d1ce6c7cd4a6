"""Isolation of model sources: a source that fails offers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from mlxk_core._errors import MlxkError
from mlxk_core._host.plugin import Plugin
from mlxk_core._host.specs import ModelSource
from mlxk_core._isolation.finding import Finding
from mlxk_core._isolation.isolation import Isolation
from mlxk_core._isolation.stdout import quiet_stdout

if TYPE_CHECKING:
    from mlxk_core._models.model import Model

_MOST_NAMES = 20_000
_LONGEST_NAME = 1024


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
            _check(model)
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
    """Return the names that `source` offers. Raises `TypeError` if one is not a string, and `ValueError` for very many
    or very long ones: every request with an unknown name looks at all of them."""
    names = source.names()
    if isinstance(names, str):
        raise TypeError("it returns a string, not several names")
    names = tuple(islice(names, _MOST_NAMES + 1))
    if len(names) > _MOST_NAMES:
        raise ValueError(f"it returns more than {_MOST_NAMES:,} names")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"it returns {type(name).__name__}, not str")
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"it returns a name of {len(name):,} characters (at most {_LONGEST_NAME:,})")
    return names


def find_in(source: ModelSource, name: str) -> Model | None:
    """Return the model of that name in `source`. Raises `TypeError` or `ValueError` if it returns anything else."""
    from mlxk_core._models.model import Model  # not needed for `mlxk --help`

    model = source.find(name)
    if model is not None and not isinstance(model, Model):
        raise TypeError(f"it returns {type(model).__name__}, not Model")
    if model is not None:
        _check(model)
    return model


def _check(model: Model) -> None:
    """Raise `TypeError` or `ValueError` for a field of another type than `Model` declares: models are keys of tables,
    and their names and paths are in lists with those of other sources."""
    from pathlib import Path

    from mlxk_core._settings.sections import ModelSettings

    optional = (str, type(None))
    types: dict[str, type | tuple[type, ...]] = {
        "name": str,
        "path": Path,
        "origin": str,
        "revision": optional,
        "source": optional,
        "variant": optional,
        "defaults": Mapping,
        "settings": ModelSettings,
    }
    for field, expected in types.items():
        value = getattr(model, field)
        if not isinstance(value, expected):
            raise TypeError(f"it returns a model whose {field} is {type(value).__name__}")
    if not 0 < len(model.name) <= _LONGEST_NAME:
        raise ValueError(f"it returns a model with a name of {len(model.name):,} characters")
    if "\0" in str(model.path):
        raise ValueError("it returns a model whose path has a null character")


def _method(source: object, name: str) -> object:
    """Return the method, or the class if it has none: where a wrong result comes from."""
    return getattr(source, name, type(source))
