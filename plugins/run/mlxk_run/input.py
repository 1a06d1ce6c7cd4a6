"""The prompt of one answer: words of the command line, files, and piped standard input."""

from __future__ import annotations

import math
import os
import re
import select
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from mlxk_core.api.errors import InvalidOption, UsageError
from mlxk_core.api.paths import expand_user, read_typed_file

_STDIN = "-"
_LITERAL = "\0"
"""Marks a word that is text although it begins with `-`; no argument of a process can contain it."""
_NUMBER = re.compile(r"-[.\d]")
_SILENCE = 2.0  # seconds without input on a pipe before a note says that mlxk is waiting for it
_MAX_FILE_BYTES = 16 * 1024 * 1024


class Text(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.2
    """Text for the model. Bytes that are not UTF-8, which Python keeps as lone surrogates, become U+FFFD."""

    name = "text"

    def __init__(self, *, may_be_empty: bool = True) -> None:
        self._may_be_empty = may_be_empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value and not self._may_be_empty:
            self.fail("the text is empty.", param, ctx)
        text = value.removeprefix(_LITERAL)
        return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def mark_literals(args: Sequence[str], options: Sequence[click.Parameter]) -> list[str]:
    """Mark the words that begin with `-` and cannot be options (`-5 + 3?`, `- item`), so that they are read as text."""
    valued = {name for each in options if isinstance(each, click.Option) and not each.is_flag for name in each.opts}
    marked: list[str] = []
    skip = False
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word == "--":
            return [*marked, *args[index:]]
        elif word.startswith("--"):
            name, equals, _ = word.partition("=")
            skip = name in valued and not equals
            word = _LITERAL + word if re.search(r"\s", name) else word
        elif word.startswith("-") and word != _STDIN:
            if word[:2] in valued:
                skip = len(word) == 2
            elif _NUMBER.match(word) or re.search(r"\s", word):
                word = _LITERAL + word
            else:
                skip = "-" + word[-1] in valued
        marked.append(word)
    return marked


@dataclass(frozen=True, kw_only=True)
class Stdin:
    """Standard input of this process, as a source of the prompt."""

    stream: BinaryIO | None
    is_terminal: bool
    carries_input: bool
    """Whether it is a pipe, a file or a stream in memory, given on purpose; not a terminal, a device or a socket."""

    @classmethod
    def of_process(cls) -> Stdin:
        if sys.stdin is None:  # closed at startup
            return cls(stream=None, is_terminal=False, carries_input=False)
        if sys.stdin.isatty():
            return cls(stream=sys.stdin.buffer, is_terminal=True, carries_input=False)
        return cls(stream=sys.stdin.buffer, is_terminal=False, carries_input=_carries_input(sys.stdin.buffer))

    def read(self, note: Callable[[str], None] = lambda text: None) -> str:
        """Read it to the end. `note` gets a sentence if a pipe stays silent.

        Raises `UsageError` if it cannot be read, or is larger than a file of the prompt may be.
        """
        if self.stream is None:
            return ""
        if self.carries_input and not _ready(self.stream):
            note("Reading the prompt from standard input (`< /dev/null` to skip it).")
        try:
            data = self.stream.read(_MAX_FILE_BYTES + 1)
        except OSError as error:  # a file opened for writing only, a terminal that is gone
            raise UsageError(f"Standard input cannot be read: {error.strerror or error}.") from error
        if len(data) > _MAX_FILE_BYTES:
            raise UsageError("Standard input is larger than 16 MB.")
        # A byte order mark and Windows line ends belong to the storage of a file, not to its text.
        return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def read_prompt(
    words: Sequence[str],
    stdin: Stdin,
    *,
    files: Sequence[str] = (),
    note: Callable[[str], None] = lambda text: None,
) -> str | None:
    """Return the prompt, or None for a chat: no words, and standard input is a terminal.

    Piped input comes first, then the files, then the words. Without words standard input is the prompt; with words it
    is read if it is a pipe or a file, or if one of the words is `-`. Raises `UsageError` for an empty prompt and
    `InvalidOption` for a file that cannot be read.
    """
    text = " ".join(word for word in words if word != _STDIN)
    if not words and stdin.is_terminal:
        return None
    piped = stdin.read(note) if stdin.carries_input or _STDIN in words or not (words or files) else ""
    parts = [piped.rstrip("\n"), *map(file_block, files), text]
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise UsageError('The prompt is empty. Usage: mlxk run MODEL "PROMPT".')
    return prompt


def file_block(path: str, *, option: str = "--file") -> str:
    """Return the text of a file for a prompt: its name, then its content in a code block. Errors name the `option`."""
    text = read_text_file(path, option=option).rstrip("\n")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text)), 3)
    return f"File {Path(path).name}:\n\n{fence}\n{text}\n{fence}"


def read_text_file(path: str, *, option: str = "--file") -> str:
    """Return the text of a file. Raises `InvalidOption` if it is missing, too large, or not UTF-8 text."""
    file = expand_user(path)
    try:
        if file.is_dir():
            raise InvalidOption(option, f"`{path}` is a folder.")
        data = read_typed_file(file, _MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidOption(option, f"cannot read `{path}`: {reason}.") from error
    try:
        if b"\0" in data:
            raise ValueError("NUL byte")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except ValueError as error:
        raise InvalidOption(option, f"`{path}` is not a UTF-8 text file.") from error


def _carries_input(stream: BinaryIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # not a file of the operating system: a stream in memory
        return True
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _ready(stream: BinaryIO) -> bool:
    try:
        return bool(select.select([stream.fileno()], [], [], _SILENCE)[0])
    except (OSError, ValueError):
        return True
