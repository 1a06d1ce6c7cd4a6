"""Isolation of plugin code: its errors, exits and prints affect nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import NoReturn, TextIO, TypeVar

from mlxk_core._errors import PluginFailure
from mlxk_core._host.error_place import describe_error, error_place
from mlxk_core._host.plugin import Plugin

_T = TypeVar("_T")
_D = TypeVar("_D")
_quiet_lock = threading.Lock()
_quiet_depth = 0
_own_descriptors = False


class Isolation:
    """Records the failures of plugins and names each failed plugin to the user once. Strict: raises them instead."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._announced: list[Plugin] = []
        self._unannounced: list[Plugin] = []
        self._note: Callable[[str], None] | None = None

    def guard(
        self, plugin: Plugin, what: str, function: Callable[[], _T], /, *, default: _D, source: object = None
    ) -> _T | _D:
        """Return `function()`, which calls code of `plugin`, or `default` after an error. What it prints goes to
        standard error. `source` is the plugin's function that is called: an error without a frame in the plugin is
        placed there.
        """
        try:
            with quiet_stdout():
                return function()
        except PluginFailure:  # of something it loads; on record already
            if self.strict:
                raise
            self._announce(plugin)
            return default
        except (Exception, SystemExit) as error:
            reason = f"{what} raised {describe_error(error, plugin.packages, source)}"
            self.fail(plugin, reason, error, source=source)
            return default

    def fail(
        self, plugin: Plugin, reason: str, cause: BaseException | None = None, *, source: object = None
    ) -> PluginFailure:
        """Record a failure and name the plugin to the user. Raises it in strict mode."""
        failure = self.record(plugin, reason, cause, source=source)
        if self.strict:
            raise failure
        self._announce(plugin)
        if cause is not None and os.environ.get("MLXK_DEBUG", "") not in ("", "0"):
            import traceback  # needed after a failure only

            traceback.print_exception(cause)  # to standard error
        return failure

    def record(
        self, plugin: Plugin, reason: str, cause: BaseException | None = None, *, source: object = None
    ) -> PluginFailure:
        """Record a failure and return it, for work that cannot be done without the plugin."""
        mismatch = plugin.needs_other_core()
        if mismatch:
            reason = f"{mismatch}: {reason}"
        import logging  # needed after a failure only

        logging.getLogger("mlxk.plugins").debug("plugin %s failed: %s", plugin.label, reason, exc_info=cause)
        if plugin.record.status != "failed":
            plugin.record = replace(plugin.record, status="failed", reason=reason)
        failure = PluginFailure(
            f"Plugin {plugin.label} failed: {reason}. (MLXK_DEBUG=1 shows the traceback.)",
            plugin=plugin.record.name,
            distribution=plugin.record.distribution,
            version=plugin.record.version,
            place=error_place(cause, plugin.packages, source),
            reason=reason,
        )
        failure.__cause__ = cause
        return failure

    def announce(self, note: Callable[[str], None]) -> None:
        """Report the plugins that have failed in one line to `note`, and from now on each one when it fails."""
        self._note = note
        waiting, self._unannounced = self._unannounced, []
        if waiting:
            names = ", ".join(plugin.label for plugin in waiting)
            note(f"mlxk: skipped broken plugins: {names}. Run `mlxk plugins` for the reason.")

    def _announce(self, plugin: Plugin) -> None:
        if plugin in self._announced:
            return
        self._announced.append(plugin)
        if self._note is None:
            self._unannounced.append(plugin)
        else:
            self._note(f"mlxk: plugin {plugin.label} failed: {plugin.record.reason}")


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what any code prints to standard error, on every thread; in the process of `mlxk` also what C code and child
    processes print. mlxk's own output is not affected: its streams are bound before."""
    global _quiet_depth
    # Counted, since `contextlib.redirect_stdout` of two threads may restore in the wrong order.
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_restore.append((sys.stdout, _point_stdout_to_stderr()))
            sys.stdout = sys.stderr
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                sys.stdout, descriptor = _quiet_restore.pop()
                if descriptor is not None:
                    os.dup2(descriptor, 1)
                    os.close(descriptor)


_quiet_restore: list[tuple[TextIO, int | None]] = []


def own_stdout() -> TextIO | None:
    """Return a stream for answers on a descriptor of its own, None if standard output is closed. From now on
    `quiet_stdout` redirects descriptor 1 too.

    For the process of `mlxk` only: in another one the descriptors are not ours to change.
    """
    global _own_descriptors
    if sys.stdout is None:
        return None
    _own_descriptors = True
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape", newline="\n")


def _point_stdout_to_stderr() -> int | None:
    """Point descriptor 1 to standard error and return a copy of what it was; None where it is not ours."""
    if not _own_descriptors:
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()  # what was printed before belongs to the answer
    try:
        before = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(before)
        return None
    return before


@contextlib.contextmanager
def exits_as_errors() -> Iterator[None]:
    """Turn `os._exit` and a `KeyboardInterrupt` that the code itself raises into `SystemExit`. A Ctrl-C of the user is
    still a `KeyboardInterrupt`."""
    interrupted = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def exit(status: int) -> NoReturn:
        raise SystemExit(status)

    # Only Python's own handler is replaced: an ignored signal stays ignored, and only the main thread may set one.
    watch = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if watch:
        signal.signal(signal.SIGINT, on_interrupt)
    real_exit, os._exit = os._exit, exit
    try:
        yield
    except KeyboardInterrupt as error:
        if interrupted or not watch:
            raise
        raise SystemExit("KeyboardInterrupt").with_traceback(error.__traceback__) from error
    finally:
        os._exit = real_exit
        if watch:
            signal.signal(signal.SIGINT, signal.default_int_handler)
