"""Python code in calls, of a size that Python can parse: its parser keeps the interpreter's lock."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from mlxk_mlx.formats.time_limit import check_time

_LONGEST = 1 << 15
"""Characters outside of strings. They take Python's parser a tenth of a second."""
_FORMATTED = 4
"""What a character of a formatted string counts for: expressions in it are parsed one by one, all of them again for
each, so that they take the longer the more there are."""
_QUOTES = 2
"""What any other string counts for."""
_STRING_OR_COMMENT = re.compile(
    r"#[^\n]*+"
    r'|"""(?:[^"\\]++|\\.|"(?!""))*+(?:"""|\Z)'
    r"|'''(?:[^'\\]++|\\.|'(?!''))*+(?:'''|\Z)"
    r'|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)'
    r"|'(?:[^'\\]++|\\.)*+(?:'|\\?\Z)",
    re.DOTALL,
)
"""One that does not end reaches to the end: to begin again after its quote would take quadratic time."""


def check_length(code: str) -> None:
    """Raise `ValueError` for code that is long without its strings."""
    if len(code) <= _LONGEST // _FORMATTED:
        return
    size = len(code)
    for found in _STRING_OR_COMMENT.finditer(code):
        if found[0].startswith("#"):
            continue
        begin, end = found.span()
        size += (end - begin) * (_FORMATTED - 1) if _is_formatted(code, begin) else _QUOTES - (end - begin)
    if size > _LONGEST:
        raise ValueError("too much Python code")


def _is_formatted(code: str, quote: int) -> bool:
    """Return whether the string whose first quote is at `quote` has a prefix with an `f`."""
    return "f" in code[max(0, quote - 2) : quote].lower()


def short_python(parse: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return `parse`, which raises `ValueError` for code that is long without its strings."""

    def read(text: str, tools: Any = None) -> Any:
        check_length(text)
        return parse(text, tools)

    return read


class LimitedAst:
    """The module `ast`, whose functions raise `ValueError` for code that is too long.

    Within a step of a `ResponseTimeLimit` they raise `TimeoutError` where it has taken too long.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(ast, name)

    def parse(self, source: str, *args: Any, **options: Any) -> ast.AST:
        check_time()
        check_length(source)
        return ast.parse(source, *args, **options)

    def literal_eval(self, node_or_string: str | ast.AST) -> Any:
        if isinstance(node_or_string, str):
            check_time()
            check_length(node_or_string)
        return ast.literal_eval(node_or_string)
