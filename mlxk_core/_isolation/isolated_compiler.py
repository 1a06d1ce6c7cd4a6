"""Isolation of constraint compilers: what they raise becomes a failure of their plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mlxk_core._errors import MlxkError, PluginFailure

if TYPE_CHECKING:
    from mlxk_core._generation.constraint import TokenConstraint, Vocabulary
    from mlxk_core._generation.grammar import Part

_T = TypeVar("_T")


class Blame(Protocol):
    """Turns an error into a failure of a plugin; `what` was called, `source` is the function of the plugin."""

    def __call__(self, what: str, error: BaseException, *, source: object = None) -> PluginFailure: ...


class IsolatedCompiler:
    """A constraint compiler of a plugin, made by `make`. Only an `MlxkError` passes through, as the protocol allows."""

    def __init__(self, blame: Blame, kind: str, make: Callable[[], Any]) -> None:
        self._blame = blame
        self._kind = kind
        self._compiler = self._call("making the compiler", make, make)
        for name in ("check", "compile"):
            if not callable(getattr(self._compiler, name, None)):
                raise self._failure("making the compiler", _lacks(self._compiler, name), make)

    def may_take_long(self, grammar: Part, vocabulary: Vocabulary | None = None, /) -> bool:
        """Return False where the compiler cannot say."""
        ask = getattr(self._compiler, "may_take_long", None)
        return ask is not None and bool(self._call("may_take_long()", lambda: ask(grammar, vocabulary), ask))

    def check(self, grammar: Part, /, *, waiting: Callable[[], None] = lambda: None) -> None:
        source, options = self._compiler.check, self._options(waiting)
        self._call("check()", lambda: source(grammar, **options), source)

    def compile(
        self, grammar: Part, vocabulary: Vocabulary, /, *, waiting: Callable[[], None] = lambda: None
    ) -> TokenConstraint:
        source, options = self._compiler.compile, self._options(waiting)
        constraint = self._call("compile()", lambda: source(grammar, vocabulary, **options), source)
        for name in ("mask", "accept"):
            if not callable(getattr(constraint, name, None)):
                raise self._failure("compile()", _lacks(constraint, name), source)
        return IsolatedConstraint(constraint, self._failure)

    def _options(self, waiting: Callable[[], None]) -> dict[str, Any]:
        return {"waiting": waiting} if hasattr(self._compiler, "may_take_long") else {}

    def _call(self, what: str, function: Callable[[], _T], source: object) -> _T:
        try:
            return function()
        except (MlxkError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise self._failure(what, error, source) from error

    def _failure(self, what: str, error: BaseException, source: object) -> PluginFailure:
        return self._blame(f"{what} of constraint {self._kind}", error, source=source)


class IsolatedConstraint:
    """A token constraint of a plugin. It runs on the engine thread, before each token."""

    __slots__ = ("_accept", "_constraint", "_failure", "_mask")

    def __init__(self, constraint: Any, failure: Callable[[str, BaseException, object], PluginFailure]) -> None:
        self._constraint = constraint
        self._mask = constraint.mask
        self._accept = constraint.accept
        self._failure = failure

    @property
    def complete(self) -> bool:
        try:
            return bool(self._constraint.complete)
        except MlxkError:
            raise
        except BaseException as error:
            raise self._failure("complete", error, type(self._constraint)) from error

    def mask(self) -> bytes | None:
        try:
            mask = self._mask()
            if mask is not None and not isinstance(mask, bytes):
                raise TypeError(f"it returns {type(mask).__name__}, not bytes or None")
            return mask
        except MlxkError:
            raise
        except BaseException as error:
            raise self._failure("mask()", error, self._mask) from error

    def accept(self, token: int, /) -> None:
        try:
            self._accept(token)
        except MlxkError:
            raise
        except BaseException as error:
            raise self._failure("accept()", error, self._accept) from error


def _lacks(thing: object, name: str) -> TypeError:
    return TypeError(f"it returns {type(thing).__name__}, which has no `{name}`")
