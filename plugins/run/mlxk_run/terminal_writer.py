"""An answer on a terminal: reasoning dimmed under a heading, Markdown rendered, words wrapped at the screen's width."""

from __future__ import annotations

import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from mlxk_core.api.generation import Channel
from mlxk_run.live_lines import LiveLines

_DIM, _NORMAL = "\x1b[2m", "\x1b[0m"
_HEADING = "Thinking"
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_HARMLESS = {**_PICTURES, ord("\r"): None, 0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
"""Control characters as visible symbols: a model's text must not control the terminal."""
_TAB = 4  # columns
_WORD = re.compile(r"\s*+\S[^ ]*+|\s++")
_PAUSE = 0.04  # seconds between two redraws, at least


class TerminalWriter:
    """Writes one answer to a terminal.

    `markdown` renders the answer; without it, and for reasoning, text is only wrapped. `ansi` False is for terminals
    that cannot move the cursor: text is then written word by word.
    """

    def __init__(
        self, write: Callable[[str], None], *, hide_reasoning: bool = False, markdown: bool = True, ansi: bool = True
    ) -> None:
        self._write = write
        self._hide_reasoning = hide_reasoning
        self._markdown = markdown and ansi
        self._ansi = ansi
        self._section: Channel | None = None
        self._block: _Block | None = None
        self.reasoned = False

    @property
    def began(self) -> bool:
        return self._section is not None

    def add(self, channel: Channel, text: str) -> None:
        text = text.translate(_HARMLESS)
        if channel is Channel.REASONING:
            self.reasoned = self.reasoned or bool(text.strip())
            if self._hide_reasoning:
                return
        if channel is not self._section:
            text = text.lstrip("\n") if not self.reasoned else text.lstrip()
            if not text.strip():
                return
            self._open(channel)
        assert self._block is not None
        self._block.add(text)

    def finish(self) -> None:
        if self._block is not None:
            self._block.finish()
            self._block = None

    def _open(self, channel: Channel) -> None:
        if self._block is not None:
            self._block.finish()
            self._write("\n")
        dim = channel is Channel.REASONING
        if dim:
            self._write(f"{_DIM}{_HEADING}{_NORMAL}\n" if self._ansi else f"{_HEADING}\n")
        if not self._ansi:
            self._block = _Words(self._write)
        elif self._markdown and not dim:
            self._block = _MarkdownBlock(self._write)
        else:
            self._block = _WrappedBlock(self._write, dim=dim)
        self._section = channel


class _Block(ABC):
    """One section of an answer."""

    @abstractmethod
    def add(self, text: str) -> None:
        """Show more text."""

    @abstractmethod
    def finish(self) -> None:
        """End the section."""


class _WrappedBlock(_Block):
    """Text wrapped at the screen's width; the last line is redrawn when a word moves to the next one."""

    def __init__(self, write: Callable[[str], None], *, dim: bool) -> None:
        self._live = LiveLines(write, _size)
        self._dim = dim
        self._line = ""
        self._columns = 0
        self._wrapped: list[str] = []  # the lines of `_line` at that width, but the last one
        self._rest = ""  # the last one, the only one that grows: a line of a thousand words is not wrapped for each
        self._ends = ""  # line ends that wait for more text: at the end of the section they are left out

    def add(self, text: str) -> None:
        text = self._ends + text
        body = text.rstrip("\n")
        self._ends = text[len(body) :]
        *complete, rest = body.split("\n")
        for part in complete:
            self._extend(part)
            self._live.commit()
            self._line, self._columns = "", 0
        self._extend(rest)

    def finish(self) -> None:
        if self._line[-1:].isspace():
            self._line, self._columns = self._line.rstrip(), 0
            self._extend("")
        self._live.commit()

    def _extend(self, text: str) -> None:
        """Show the line with `text` at its end."""
        between_words = bool(self._wrapped) and not self._rest.strip() and not self._line.isspace()
        before, self._line = len(self._line), (self._line + text).expandtabs(_TAB)
        self._rest += self._line[before:]
        if between_words:
            self._rest = self._rest.lstrip()
        if (columns := _columns()) != self._columns:
            self._columns, self._wrapped, self._rest = columns, [], self._line
        *complete, self._rest = wrap(self._rest, columns)
        self._wrapped += [self._styled(each) for each in complete]
        self._live.update([*self._wrapped, self._styled(self._rest)])

    def _styled(self, line: str) -> str:
        return f"{_DIM}{line}{_NORMAL}" if self._dim and line else line


class _MarkdownBlock(_Block):
    """Markdown rendered block by block: the last block is redrawn while it grows, the ones before it stay."""

    def __init__(self, write: Callable[[str], None]) -> None:
        from mlxk_run.markdown import MarkdownRenderer  # rich takes 0.1 s to import

        self._renderer = MarkdownRenderer()
        self._live = LiveLines(write, _size)
        self._write = write
        self._text = ""
        self._blocks = 0
        self._next = 0.0

    def add(self, text: str) -> None:
        self._text += text
        now = time.monotonic()
        if now < self._next:
            return
        self._render()
        # A long block costs more to redraw: spend at most a fifth of the time on it.
        self._next = time.monotonic() + max(_PAUSE, 4 * (time.monotonic() - now))

    def finish(self) -> None:
        self._text = self._text.rstrip()
        self._render()
        self._live.commit()

    def _render(self) -> None:
        *complete, last = self._renderer.blocks(self._text)
        for block in complete:
            self._show(block)
            self._live.commit()
            self._blocks += 1
            self._write("\n")
        self._text = last
        self._show(last)

    def _show(self, block: str) -> None:
        if block.strip():
            self._live.update(self._renderer.lines(block, _columns()))


class _Words(_Block):
    """Text written word by word, for a terminal whose cursor cannot move."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._column = 0
        self._word = ""
        self._space = ""
        self._last = ""

    def add(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._flush()
                self._out("\n")
                self._column, self._space = 0, ""
            elif character.isspace():
                self._flush()
                self._space += character
            else:
                self._word += character

    def finish(self) -> None:
        self._flush()
        if self._last != "\n":
            self._out("\n")

    def _flush(self) -> None:
        if not self._word:
            return
        width = cell_length(self._space) + cell_length(self._word)
        if self._column and self._column + width > _columns():
            self._out("\n" + self._word)
            self._column = cell_length(self._word)
        else:
            self._out(self._space + self._word)
            self._column += width
        self._word = self._space = ""

    def _out(self, text: str) -> None:
        self._write(text)
        self._last = text[-1]


def wrap(line: str, width: int) -> list[str]:
    """Wrap one line at spaces to lines of at most `width` columns; a longer word is broken. Indentation is kept."""
    line = line.expandtabs(_TAB)
    if cell_length(line) <= width:
        return [line]
    lines, current, room = [], "", width
    for word in _WORD.findall(line):  # each with the white space before it
        size = cell_length(word)
        if size <= room:
            current, room = current + word, room - size
            continue
        if current.strip():
            lines.append(current.rstrip())
            current, room, word = "", width, word.lstrip()
            size = cell_length(word)
        while size > room:
            head = longest_head(word, room)
            lines.append(current + head)
            current, room, word = "", width, word[len(head) :]
            size -= cell_length(head)
            if size <= room:
                size = cell_length(word)  # signs that are joined take other columns than each for itself
        current, room = current + word, room - size
    return [*lines, current]


def cell_length(text: str) -> int:
    """Return the number of terminal columns that `text` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def longest_head(word: str, width: int) -> str:
    """Return the longest beginning of `word` that fits, at least one character."""
    end, used = 0, 0
    while end < len(word) and (used := used + cell_length(word[end])) <= width:
        end += 1
    return word[: max(1, end)]


def _columns() -> int:
    """Return the usable width: after a line that fills the last column, the cursor's place is undefined."""
    return max(8, _size().columns - 1)


def _size() -> os.terminal_size:
    return shutil.get_terminal_size()
