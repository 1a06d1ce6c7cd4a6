"""Output of a run: results go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from mlxk_core._errors import MlxkError, kind_of, text_of, type_and_message
from mlxk_core._isolation.stdout import quiet_stdout
from mlxk_core._text.control_characters import escape_control, one_line

_NARROWEST = 20
"""Columns that the right part of a row needs to be wrapped under itself."""
_SURROGATE = re.compile("[\ud800-\udfff]")


class Output:
    """Standard output and standard error of one run, fixed when it is created.

    With `json`, `write` and `line` do nothing: standard output gets only the envelope that the command line prints.
    A closed pipe raises `BrokenPipeError`; do not catch it, it ends the process silently.
    """

    def __init__(self, *, json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.json = json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._reservation = contextlib.ExitStack()

    def for_json(self) -> Output:
        """Return the same streams in JSON mode."""
        output = Output(json=True, stdout=self._stdout, stderr=self._stderr)
        output._reservation = self._reservation
        return output

    def reserve(self) -> None:
        """Let standard output get only what this object writes until `release`: `exclusive`, also at a terminal."""
        self._reservation.enter_context(quiet_stdout())

    def release(self) -> None:
        """End what `reserve` began, by this object or one made of it."""
        self._reservation.close()

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which standard output gets only what this object writes. What other code prints goes to
        standard error, also that of C libraries and child processes. Does nothing at a terminal."""
        return contextlib.nullcontext() if self.stdout_is_terminal else quiet_stdout()

    @property
    def stdout_is_terminal(self) -> bool:
        return _is_terminal(self._stdout)

    @property
    def stderr_is_terminal(self) -> bool:
        return _is_terminal(self._stderr)

    def write(self, text: str) -> None:
        """Write part of the result and flush it. Does nothing in JSON mode, where the envelope has the data."""
        if not self.json:
            self._write_result(text)

    def line(self, text: str = "") -> None:
        """Write a line of the result. Does nothing in JSON mode."""
        self.write(text + "\n")

    def row(self, left: str, right: str) -> None:
        """Write `left` and `right` as a line of the result. At a terminal, `right` is wrapped under its beginning."""
        self.line(_wrap(left + right, len(left)) if self.stdout_is_terminal else left + right)

    def note(self, text: str, *, end: str = "\n") -> None:
        """Write a line to standard error, also in JSON mode. A closed stream is not an error."""
        with contextlib.suppress(OSError, ValueError):
            if end == "\n" and self.stderr_is_terminal:
                text = "\n".join(map(_wrap, text.split("\n")))
            _emit(self._stderr, text + end)

    def status(self, text: str) -> None:
        """Write a line about the work in progress to standard error. Does nothing in JSON mode."""
        if not self.json:
            self.note(text)

    def trace(self, error: BaseException) -> None:
        """Write the traceback of `error` to standard error if MLXK_DEBUG is set."""
        if os.environ.get("MLXK_DEBUG", "") not in ("", "0"):
            import traceback  # only a failure needs it

            lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
            self.note("\n".join(map(escape_control, lines)))

    def envelope(self, *, command: str | None, data: Any, error: BaseException | None) -> None:
        """Write the JSON document of a run with `--json`."""
        self._write_result(_envelope_text(command, data, error) + "\n")

    def _write_result(self, text: str) -> None:
        try:
            if sys.stdout is not None and sys.stdout is not self._stdout:
                with contextlib.suppress(ValueError):
                    sys.stdout.flush()  # what a command printed before comes first
            _emit(self._stdout, text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise MlxkError(f"Standard output cannot be written: {error.strerror or error}.") from error


def error_object(error: BaseException) -> Mapping[str, Any]:
    """Return `error` as data: its type, message and details."""
    details = error.details if isinstance(error, MlxkError) else {}
    return {"type": kind_of(error).type, "message": error_message(error), "details": details}


def error_message(error: BaseException) -> str:
    """Return the message of `error` on one line, after its type unless it is an `MlxkError`."""
    return one_line(text_of(error)) if isinstance(error, MlxkError) else type_and_message(error)


def _wrap(line: str, margin: int | None = None) -> str:
    """Return `line` wrapped for the terminal, later lines indented by `margin` or, without it, as the first one is;
    unchanged if it has control sequences."""
    import shutil
    import textwrap

    columns = shutil.get_terminal_size().columns
    if len(line) < columns or "\x1b" in line:
        return line
    if margin is None:
        margin = len(line) - len(line.lstrip())
    elif columns - margin < _NARROWEST:
        margin = 4
    return textwrap.fill(
        line,
        max(columns - 1, margin + 8),
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _envelope_text(command: str | None, data: Any, error: BaseException | None) -> str:
    import json  # needed for an envelope only

    document = {
        "status": "error" if error else "success",
        "command": command,
        "data": data,
        "error": error_object(error) if error else None,
    }
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    # Bytes of a file name that are not UTF-8 are lone surrogates, which JSON can hold as escapes only.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _emit(stream: TextIO | None, text: str) -> None:
    if stream is None:  # Python sets None if the descriptor was closed at startup
        raise OSError("it is closed")
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(text)
    else:
        # UTF-8 in every locale, so that an emoji does not fail under LANG=C. Undecodable bytes of a file name are
        # restored; other lone surrogates become question marks.
        stream.flush()
        try:
            data = text.encode("utf-8", errors="surrogateescape")
        except UnicodeEncodeError:
            data = text.encode("utf-8", errors="replace")
        binary.write(data)
    stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
