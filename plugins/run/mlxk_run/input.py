"""What is asked: the words of the command line, and standard input where it is meant."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import click

from mlxk_core.api.errors import UsageError

_STDIN = "-"


class Text(click.ParamType):  # type: ignore[type-arg]  # no generic before click 8.2
    """Words for the model. Bytes that are no UTF-8, which Python keeps as lone surrogates, are none for a tokenizer."""

    name = "text"

    def __init__(self, *, may_be_empty: bool = True) -> None:
        self._may_be_empty = may_be_empty

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value and not self._may_be_empty:
            self.fail("It is empty.", param, ctx)
        return value.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


class Number(click.FloatRange):
    """A number in a range; Python reads `inf` and `nan` as numbers too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def asked(words: Sequence[str], *, stdin_is_terminal: bool, stdin: BinaryIO | None = None) -> str | None:
    """The prompt, or None when a chat is wanted: no words, and somebody sits at the terminal.

    Standard input is read for a word `-` (what it says comes before the other words), and when there are no words and
    it is no terminal; otherwise it is left alone.
    """
    said = " ".join(word for word in words if word != _STDIN)
    if _STDIN in words:
        piped = _read(stdin)
        return _not_empty("\n\n".join(part for part in (piped.rstrip("\n"), said) if part))
    if words:
        return _not_empty(said)
    if stdin_is_terminal:
        return None
    return _not_empty(_read(stdin).rstrip("\n"))


def _read(stdin: BinaryIO | None) -> str:
    if stdin is None and sys.stdin is None:  # closed before we started
        return ""
    # A byte order mark and Windows' ends of lines are how a file is stored, and no words for a model.
    return (stdin or sys.stdin.buffer).read().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def _not_empty(prompt: str) -> str:
    if not prompt.strip():
        raise UsageError("The prompt is empty. Give some words, or text on standard input.")
    return prompt
