"""Markdown as lines of a terminal, rendered with rich."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_THEME = "ansi_dark"  # the terminal's own colours, readable on light and dark backgrounds


class MarkdownRenderer:
    """Renders Markdown text to lines with terminal colours."""

    def __init__(self) -> None:
        self._parser = _parser()

    def blocks(self, text: str) -> list[str]:
        """Split `text` into its top-level blocks. The last one may still grow."""
        starts = [token.map[0] for token in self._parser.parse(text) if token.level == 0 and token.map]
        lines = text.split("\n")
        edges = sorted({0, *starts[1:]})
        return ["\n".join(lines[start:end]) for start, end in zip(edges, [*edges[1:], len(lines)], strict=True)]

    def lines(self, text: str, width: int) -> list[str]:
        """Render one block at `width` columns."""
        screen = io.StringIO()
        console = Console(
            file=screen,
            width=max(8, width),
            force_terminal=True,
            color_system="standard" if "NO_COLOR" not in os.environ else None,
            no_color="NO_COLOR" in os.environ,
            highlight=False,
            legacy_windows=False,
            _environ={},
        )
        console.print(_Markdown(text, self._parser.parse(text)), end="")
        lines = [line.rstrip() for line in screen.getvalue().split("\n")]
        while lines and not _COLOUR.sub("", lines[0]).strip():
            del lines[0]
        while lines and not _COLOUR.sub("", lines[-1]).strip():
            del lines[-1]
        return lines


class _Heading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        if self.lexer_name in ("", "text"):
            yield Text(code)
        else:
            yield Syntax(code, self.lexer_name, theme=_THEME, word_wrap=True, background_color="default")


class _Markdown(Markdown):
    """rich's Markdown without HTML, with the line breaks of the text, and with plain headings."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, text: str, tokens: list[Token]) -> None:
        super().__init__("", code_theme=_THEME, hyperlinks=False)
        self.markup = text
        self.parsed = list(_with_line_breaks(tokens))


def _with_line_breaks(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        if token.children:
            token.children = list(_with_line_breaks(token.children))
        if token.type == "softbreak":
            token.type = "hardbreak"
        yield token


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    # Models write formulas as \( … \) and \[ … \]; to CommonMark these are escaped brackets.
    parser.inline.ruler.before("escape", "formula", _formula)
    return parser


def _formula(state: StateInline, silent: bool) -> bool:
    mark = state.src[state.pos : state.pos + 2]
    if mark not in (r"\(", r"\)", r"\[", r"\]"):
        return False
    if not silent:
        state.pending += mark
    state.pos += 2
    return True
