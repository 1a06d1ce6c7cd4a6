"""The words of errors about request fields: JSON's, not Python's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect

_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_TYPE = re.compile("`(" + "|".join(_TYPES) + ")`")
_UNION = re.compile(r"`(\w+(?: \| \w+)+)`")
_LENGTH = re.compile(r"Expected `(?P<type>str|array|object)` of length (?P<bound>>=|<=) (?P<length>\d+)")
_BOUND = re.compile(r"Expected `(?:int|float)` (?P<bound>>=|<=|>|<) (?P<limit>\S+)")
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def in_json_words(problem: str) -> str:
    """Return a problem in msgspec's words (``Expected `float` <= 2.0``) in those of JSON (`must be at most 2`)."""
    if match := _LENGTH.match(problem):
        if match["bound"] == ">=" and match["length"] == "1":
            return "must not be empty"
        unit = {"str": "characters", "array": "entries", "object": "entries"}[match["type"]]
        return f"must have {_BOUNDS[match['bound']]} {match['length']} {unit}"
    if match := _BOUND.match(problem):
        return f"must be {_BOUNDS[match['bound']]} {match['limit'].removesuffix('.0')}"
    words = _UNION.sub(lambda union: _either(name for name in union[1].split(" | ") if name != "null"), problem)
    words = _TYPE.sub(lambda found: _TYPES[found[1]], words)
    return f"{words[:1].lower()}{words[1:]}"


def _either(names: Iterable[str]) -> str:
    return " or ".join(_TYPES.get(name, name) for name in names)


def allowed_words(kind: Any, path: str) -> str:
    """Return the words that the field at `path` of a `kind` may have: `user, assistant or tool`; empty if unknown."""
    types = [inspect.type_info(kind)]
    for step in _steps(path):
        types = [inner for found in types for inner in _inside(found, step)]
    options = [option for found in types for option in _options(found)]
    words = [word for option in options if isinstance(option, inspect.LiteralType) for word in option.values]
    *others, last = words or [""]
    return f"{', '.join(map(str, others))} or {last}" if others else str(last)


def _steps(path: str) -> Iterator[str]:
    """Return the names in `tools[0].type`, and an empty one for each place in a list."""
    for part in re.findall(r"\[[^\[\]]*\]|[^.\[]+", path):
        yield "" if part.startswith("[") else part


def _inside(found: inspect.Type, step: str) -> Iterator[inspect.Type]:
    if isinstance(found, inspect.UnionType):
        for option in found.types:
            yield from _inside(option, step)
    elif isinstance(found, inspect.StructType) and step:
        yield from (_flat(field.type) for field in found.fields if field.encode_name == step)
    elif isinstance(found, inspect.ListType) and not step:
        yield _flat(found.item_type)


def _options(found: inspect.Type) -> Iterable[inspect.Type]:
    return found.types if isinstance(found, inspect.UnionType) else (found,)


def _flat(found: inspect.Type) -> Any:
    return found.type if isinstance(found, inspect.Metadata) else found
