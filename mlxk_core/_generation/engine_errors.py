"""Errors of engines: which backend raised them, in which call, and where."""

from __future__ import annotations

import inspect
import traceback

from mlxk_core._errors import EngineFailure, InsufficientMemory, MlxkError
from mlxk_core._generation.malformed_result import WrongResult
from mlxk_core._host.host import Host
from mlxk_core._host.specs import BackendSpec
from mlxk_core._isolation.error_place import definition_place, describe_error, error_place
from mlxk_core._system_limits import system_limit

_MEMBERS = (
    "tokenizer", "native_stops", "memory", "render", "check", "add", "step", "remove", "reset", "close",
)  # fmt: skip


def engine_error(host: Host, backend: BackendSpec, call: str, error: BaseException, source: object = None) -> MlxkError:
    """Return the error for a request when `call` (`step()`) of a backend or its engine raised `error`.

    An `MlxkError` is returned unchanged, a limit of the system as `SystemLimit`. Anything else is a failure of the
    backend's plugin: the message names plugin, file and line, and the cause is kept. An error without a frame in the
    plugin is placed at `source`.
    """
    if isinstance(error, MlxkError):
        return error
    if isinstance(error, MemoryError):
        return InsufficientMemory(f"Not enough memory: {call} of backend {backend.name} ran out of it.")
    if (limit := system_limit(error)) is not None:
        return limit
    packages = host.owner_of(backend).packages
    return _failure(host, backend, f"{call} raised {describe_error(error, packages, source)}", error, source)


def malformed_result(host: Host, backend: BackendSpec, problem: str, source: object) -> EngineFailure:
    """Return the error for a request when `source`, a function of a backend or its engine, returned `problem`."""
    place = definition_place(source)
    return _failure(host, backend, f"{problem} ({place})" if place else problem, None, source)


def request_error(host: Host, backend: BackendSpec, error: BaseException) -> MlxkError:
    """Return the error of a request for what its own thread raised while it used the engine or its tokenizer."""
    if isinstance(error, WrongResult):
        return malformed_result(host, backend, str(error), error.returned_by)
    return engine_error(host, backend, failed_call(error) or "the text of a request", error)


def stalled(host: Host, backend: BackendSpec, seconds: float) -> EngineFailure:
    """Return the error for a request whose engine made no progress for `seconds`."""
    return _failure(host, backend, f"step() made no progress for {seconds:g} s", None)


def failed_call(error: BaseException) -> str | None:
    """Return the outermost call outside of mlxk-core in which `error` was raised, as `encode()`; None without any."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not str(frame.f_globals.get("__name__", "")).startswith("mlxk_core."):
            return f"{frame.f_code.co_name}()"
    return None


def missing_member(engine: object) -> str | None:
    """Return the name of a member of `Engine` that `engine` lacks. Nothing is called: a property may raise."""
    absent = object()
    for name in _MEMBERS:
        if inspect.getattr_static(engine, name, absent) is absent and not hasattr(type(engine), "__getattr__"):
            return name
    return None


def _failure(
    host: Host, backend: BackendSpec, problem: str, cause: BaseException | None, source: object = None
) -> EngineFailure:
    owner = host.owner_of(backend)
    failure = EngineFailure(
        f"Backend {backend.name} of plugin {owner.label} failed: {problem}",
        backend=backend.name,
        plugin=owner.record.name,
        distribution=owner.record.distribution,
        version=owner.record.version,
        place=error_place(cause, owner.packages, source),
    )
    failure.__cause__ = cause
    return failure
