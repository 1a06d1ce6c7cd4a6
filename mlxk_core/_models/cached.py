"""Attributes that are computed when they are first read, by one thread at a time for each object."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")
_LOCK = "_cached_lock"


class cached_property(Generic[_T]):
    """`functools.cached_property` with a lock for each object.

    That of Python 3.11 has one lock for all objects of a class: a file that is slow to read would keep all clients from
    all other models. Those of later versions have none: many threads would read the same megabytes at the same time.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> cached_property[_T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> _T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> cached_property[_T] | _T:
        if instance is None:
            return self
        values = instance.__dict__
        lock = values.get(_LOCK) or values.setdefault(_LOCK, threading.RLock())
        with lock:
            try:
                value: _T = values[self._name]
            except KeyError:  # not there, or dropped by another thread in this moment
                value = values[self._name] = self._compute(instance)
            return value
