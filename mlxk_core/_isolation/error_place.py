"""Where an error comes from: the line in a plugin's code, and the error in one line of text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mlxk_core._errors import type_and_message

if TYPE_CHECKING:
    from types import FrameType


def describe_error(error: BaseException, packages: Iterable[str] = (), source: object = None) -> str:
    """Return one line: type, message, and the place of the error as `error_place` finds it."""
    place = error_place(error, packages, source)
    return f"{type_and_message(error)} ({place})" if place else type_and_message(error)


def error_place(error: BaseException | None, packages: Iterable[str] = (), source: object = None) -> str | None:
    """Return `package/module.py:12`: the deepest frame of `error` inside `packages`.

    Without one it is where `source` is defined, the function or class whose result is wrong; else the deepest frame
    outside mlxk-core.
    """
    if isinstance(error, SyntaxError):
        return None  # its message names file and line
    if error is None:
        return definition_place(source)
    import traceback  # needed after a failure only

    own = frozenset(packages)
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_code(frame)]
    outside = [(frame, line) for frame, line in frames if _package(frame) != "mlxk_core"]
    inside = [(frame, line) for frame, line in frames if _package(frame) in own]
    if not inside and (defined := definition_place(source)):
        return defined
    for found in (inside, outside):
        if found:
            frame, line = found[-1]
            return f"{_short(frame.f_code.co_filename, _package(frame))}:{line}"
    return None


def definition_place(source: object) -> str | None:
    """Return `package/module.py:12`: where a function, method or class of Python code is defined; None for others."""
    import inspect

    while isinstance(source, partial):
        source = source.func
    try:
        source = inspect.unwrap(source) if callable(source) else source
        file = inspect.getsourcefile(source)  # type: ignore[arg-type]
        line = inspect.getsourcelines(source)[1]  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return None
    package = str(getattr(source, "__module__", None) or getattr(source, "__name__", "")).partition(".")[0]
    return f"{_short(file, package)}:{max(line, 1)}" if file else None


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_code(frame: FrameType) -> bool:
    return not frame.f_code.co_filename.startswith("<frozen ") and _package(frame) not in ("importlib", "pluggy")


def _short(path: str, package: str) -> str:
    _, found, rest = path.replace("\\", "/").rpartition(f"/{package}/")
    return f"{package}/{rest}" if found else path.replace("\\", "/").rpartition("/")[2]
