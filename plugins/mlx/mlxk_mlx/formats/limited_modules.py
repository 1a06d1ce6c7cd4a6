"""Copies of modules that read what a model writes, within the limits of a response."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import regex

from mlxk_mlx.formats.python_code import LimitedAst
from mlxk_mlx.formats.time_limit import LimitedPattern


class _LimitedRegex:
    """The functions of the module `regex`, limited."""

    def __getattr__(self, name: str) -> Any:
        return getattr(regex, name)

    def finditer(self, pattern: str, text: str, flags: int = 0) -> Any:
        return LimitedPattern(regex.compile(pattern, flags)).finditer(text)

    def sub(self, pattern: str, replacement: Any, text: str, flags: int = 0) -> Any:
        return LimitedPattern(regex.compile(pattern, flags)).sub(replacement, text)


@cache
def limited_module(name: str, *, siblings: bool = False) -> ModuleType:
    """Return a copy of module `name` whose patterns and parsers of Python are limited.

    With `siblings`, functions that it has from another module of its package come from such a copy too. Raises
    `ImportError` if there is no such module.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module named {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for key, value in list(vars(module).items()):
        if isinstance(value, regex.Pattern):
            setattr(module, key, LimitedPattern(value))
        elif value is regex:
            setattr(module, key, _LimitedRegex())
        elif value is ast:
            setattr(module, key, LimitedAst())
        elif siblings and isinstance(value, FunctionType) and _is_sibling(value.__module__, name):
            setattr(module, key, getattr(limited_module(value.__module__, siblings=True), value.__name__))
    return module


def _is_sibling(module: str, name: str) -> bool:
    """Return whether `module` is another one in the package of module `name`."""
    return module != name and module.rpartition(".")[0] == name.rpartition(".")[0]
