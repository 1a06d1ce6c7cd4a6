"""The identity of a model's files, and values that are computed again only when it changes."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from mlxk_core._errors import BrokenModel, MlxkError, ModelError
from mlxk_core._models.file_stamp import FileStamp, file_stamp
from mlxk_core._models.folder_walk import walk
from mlxk_core._models.model import Model
from mlxk_core._system_limits import raise_system_limit

_LOGGER = logging.getLogger("mlxk.models")
_T = TypeVar("_T")
FileIdentity = bytes
"""A digest of the name and the stamp of each file: names of kilobytes are not kept for each model."""
_MOST_RESULTS = 20_000
"""Of one cache: each revision of a model has one, and those that were asked for longest ago are computed again."""


def file_identity(path: Path) -> FileIdentity:
    """Return the identity of the files below the folder `path`, or of the file `path`. Hidden files do not count, links
    to files are followed. Raises `OSError` if `path` cannot be read, `SystemLimit` without a file descriptor for it."""
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return _digest("", file_stamp(status))
    try:
        digests = sorted(_digest(name, file_stamp(_status(entry))) for name, entry in walk(str(path)))
    except OSError as error:
        raise_system_limit(error)
        raise
    return sha256(b"".join(digests)).digest()


@dataclass(frozen=True, slots=True)
class _Result(Generic[_T]):
    """What `compute` returned or raised for the files with that identity."""

    identity: FileIdentity
    value: _T | None
    error: ModelError | None


class FileIdentityCache(Generic[_T]):
    """Results of `compute` for models, kept until their files change. Safe for use by several threads.

    Two threads that need the same result do not compute it twice. Models are copied first: what is read of their files
    would stay in memory, gigabytes for hundreds of them.
    """

    def __init__(self, compute: Callable[[Model], _T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._computing: dict[Model, threading.Event] = {}
        self._results: OrderedDict[Model, _Result[_T]] = OrderedDict()

    def get(self, model: Model, identity: FileIdentity | None = None) -> _T:
        """Return the result for `model`, whose files have this `identity` (None: look).

        Raises what `compute` raises; a `ModelError` is kept as well, unless a file could not be read. Raises
        `BrokenModel` for a folder that cannot be read, and for a fault of `compute`, which is logged.
        """
        try:
            found = self._up_to_date(model, file_identity(model.path) if identity is None else identity)
        except OSError as error:
            raise BrokenModel(
                f"The files of `{model.name}` cannot be read: {error.strerror or type(error).__name__}.",
                model=model.name,
            ) from error
        if found.error is not None:
            raise found.error.detached()
        return found.value  # type: ignore[return-value]

    def _up_to_date(self, model: Model, identity: FileIdentity) -> _Result[_T]:
        while (found := self._found(model, identity)) is None:
            with self._lock:
                computed = self._computing.get(model)
                if computed is None:
                    self._computing[model] = threading.Event()
            if computed is None:
                return self._compute_now(model, identity)
            computed.wait()
        return found

    def _compute_now(self, model: Model, identity: FileIdentity) -> _Result[_T]:
        try:
            # Another thread may have computed it just before this one began.
            if (found := self._found(model, identity)) is None:
                found = self._computed(replace(model), identity)
                if found.error is None or not isinstance(found.error.__cause__, OSError):
                    self._keep(replace(model), found)
            return found
        finally:
            with self._lock:
                self._computing.pop(model).set()

    def _found(self, model: Model, identity: FileIdentity) -> _Result[_T] | None:
        with self._lock:
            found = self._results.get(model)
            if found is None or found.identity != identity:
                return None
            self._results.move_to_end(model)
            return found

    def _keep(self, model: Model, found: _Result[_T]) -> None:
        if found.error is not None:
            found = replace(found, error=found.error.detached())
        with self._lock:
            self._results.pop(model, None)  # the key may have the settings of then
            self._results[model] = found
            if len(self._results) > _MOST_RESULTS:
                self._results.popitem(last=False)

    def _computed(self, model: Model, identity: FileIdentity) -> _Result[_T]:
        try:
            return _Result(identity, self._compute(model), None)
        except ModelError as error:
            return _Result(identity, None, error)
        except (MlxkError, OSError, MemoryError):
            raise
        except Exception:  # our fault, but that of one model, and a list has all
            _LOGGER.exception("the files of %s cannot be examined", model.name)
            broken = BrokenModel(f"The files of `{model.name}` cannot be examined. See the log.", model=model.name)
            return _Result(identity, None, broken)

    def forget_deleted(self, *, keep: Collection[Model]) -> None:
        """Forget the models whose files are gone, other than those to `keep`."""
        kept = set(keep)
        with self._lock:
            known = list(self._results)
        deleted = [model for model in known if model not in kept and not model.path.exists()]
        with self._lock:
            for model in deleted:
                self._results.pop(model, None)


def _digest(name: str, stamp: FileStamp) -> bytes:
    return sha256(repr((name, stamp)).encode("utf-8", "surrogatepass")).digest()


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a dangling link
        return entry.stat(follow_symlinks=False)
