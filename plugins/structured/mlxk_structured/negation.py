"""Negation of schemas without `not`, and proofs that two schemas have no common value."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxk_structured.ecma_regex import UnsupportedPattern, excluding, not_matching

TYPES = ("object", "array", "string", "number", "boolean", "null")
_MOST_DEPTH = 8
_MOST_PAIRS = 200


class Derived(dict[str, Any]):
    """A schema that stands for a keyword of the client's. `path` is the keyword's; one that only excludes values does
    not count as a description of the properties and items it names."""

    __slots__ = ("describes", "path")

    def __init__(self, schema: Mapping[str, Any], path: str, *, describes: bool = True) -> None:
        super().__init__(schema)
        self.path = path
        self.describes = describes


class Inexpressible(ValueError):
    """No grammar can be written for a keyword. `path` is where."""

    def __init__(self, path: str, problem: str = "what it forbids cannot be written as a grammar") -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Negation:
    """Negates schemas of one document. `target` returns the schema that a local reference names."""

    target: Callable[[str, str], Any]

    def negated(self, schema: Any, path: str) -> Any:
        """Return a schema all of whose values `schema` forbids; where it can, one that has all of them.

        Raises `Inexpressible` if it would have none although there may be some.
        """
        return union(self._alternatives(schema, path, 0), path, describes=False)

    def disjoint(self, one: Any, other: Any, depth: int = 0) -> bool:
        """Return whether no value matches both schemas, as far as that can be seen."""
        one, other = self.resolved(one), self.resolved(other)
        if one is False or other is False:
            return True
        if not isinstance(one, Mapping) or not isinstance(other, Mapping) or depth > _MOST_DEPTH:
            return False
        for left, right in ((one, other), (other, one)):
            if any(self.disjoint(part, right, depth + 1) for part in listed(left.get("allOf"))):
                return True
            for key in ("anyOf", "oneOf"):
                parts = listed(left.get(key))
                if parts and all(self.disjoint(part, right, depth + 1) for part in parts):
                    return True
        first, second = values_of(one), values_of(other)
        if first is not None and second is not None:
            return not any(_equal(a, b) for a in first for b in second)
        common = types_of(one) & types_of(other)
        if not common:
            return True
        if common == {"number"}:
            return _apart(one, other) or _apart(other, one)
        if common != {"object"}:
            return False
        names = [*listed(one.get("required")), *listed(other.get("required"))]
        return any(self.disjoint(_property(one, name), _property(other, name), depth + 1) for name in names)

    def resolved(self, schema: Any) -> Any:
        """Return what a schema that is nothing but references refers to."""
        for _ in range(_MOST_DEPTH):
            if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str) or _says_more(schema):
                break
            schema = self.target(schema["$ref"], "$ref")
        return schema

    def _alternatives(self, schema: Any, path: str, depth: int) -> list[Any]:
        if isinstance(schema, bool):
            return [] if schema else [True]
        if not isinstance(schema, Mapping):
            raise Inexpressible(path, "a schema must be an object or a boolean")
        if depth > _MOST_DEPTH:
            raise Inexpressible(path)
        found: list[Any] = []
        unknown = False
        for key, value in schema.items():
            write = _KEYWORDS.get(key)
            if write is None:
                unknown |= key in _OPAQUE
                continue
            try:
                found += write(self, value, schema, path, depth)
            except (Inexpressible, TypeError, ValueError):
                unknown = True
        if not found and unknown:
            raise Inexpressible(path)
        if schema.get("nullable") is True:
            return [{"allOf": [_any_of(found), {"type": [kind for kind in TYPES if kind != "null"]}]}] if found else []
        return found

    def _inner(self, schema: Any, path: str, depth: int) -> Any:
        return _any_of(self._alternatives(schema, path, depth + 1))

    def _type(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        kinds = {"number" if kind == "integer" else kind for kind in (value if isinstance(value, list) else [value])}
        if others := [kind for kind in TYPES if kind not in kinds]:
            yield {"type": others}

    def _enum(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        values = value if isinstance(value, list) else []
        present = {_type(each) for each in values}
        if absent := [kind for kind in TYPES if kind not in present]:
            yield {"type": absent}
        if "string" in present:
            try:
                pattern = excluding([each for each in values if isinstance(each, str)])
            except UnsupportedPattern:
                raise Inexpressible(path) from None
            yield {"type": "string", "pattern": pattern}
        if "number" in present:
            yield from _between(sorted({each for each in values if _type(each) == "number"}))
        if "boolean" in present and len(rest := [each for each in (True, False) if not _among(each, values)]) == 1:
            yield {"enum": rest}
        if "array" in present:
            yield {"type": "array", "minItems": max(len(each) for each in values if isinstance(each, list)) + 1}

    def _const(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        return self._enum([value], schema, path, depth)

    def _required(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        for name in listed(value):
            yield {"type": "object", "properties": {name: False}}

    def _properties(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        skipped = 0
        for name, inner in value.items():
            try:
                forbidden = self._inner(inner, path, depth)
            except Inexpressible:
                skipped += 1
                continue
            if forbidden is not False:
                yield {"type": "object", "required": [name], "properties": {name: forbidden}}
        if skipped:
            yield from self._if_only(skipped == len(value), path)

    def _if_only(self, nothing: bool, path: str) -> Iterator[Any]:
        if nothing:
            raise Inexpressible(path)
        yield from ()

    def _items(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        if isinstance(value, list):
            yield from self._prefix(value, schema, path, depth)
            return
        before = [True] * len(listed(schema.get("prefixItems")))
        forbidden = self._inner(value, path, depth)
        if forbidden is not False:
            yield {"type": "array", "minItems": len(before) + 1, "prefixItems": [*before, forbidden]}

    def _prefix(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        for i, inner in enumerate(listed(value)):
            forbidden = self._inner(inner, path, depth)
            if forbidden is not False:
                yield {"type": "array", "minItems": i + 1, "prefixItems": [*[True] * i, forbidden]}

    def _contains(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        if schema.get("minContains", 1) != 1 or "maxContains" in schema:
            raise Inexpressible(path)
        yield {"type": "array", "items": self._inner(value, path, depth)}

    def _limit(
        self, value: Any, schema: Mapping[str, Any], path: str, depth: int, *, key: str, to: str
    ) -> Iterator[Any]:
        if isinstance(value, bool) or isinstance(schema.get(f"exclusiveM{key[1:]}"), bool):
            raise Inexpressible(path)
        yield {"type": "number", to: value}

    def _count(
        self, value: Any, schema: Mapping[str, Any], path: str, depth: int, *, kind: str, to: str, by: int
    ) -> Iterator[Any]:
        if value + by >= 0:
            yield {"type": kind, to: value + by}

    def _pattern(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        for pattern in not_matching(value):  # raises `ValueError`
            yield {"type": "string", "pattern": pattern}

    def _all_of(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        found, unknown = [], False
        for part in listed(value):
            try:
                found += self._alternatives(part, path, depth + 1)
            except Inexpressible:
                unknown = True
        if unknown and not found:
            raise Inexpressible(path)
        yield from found

    def _any_of(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        yield {"allOf": [self._inner(part, path, depth) for part in listed(value)]}

    def _one_of(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        parts = listed(value)
        pairs = [
            {"allOf": [a, b]}
            for a, b in itertools.islice(itertools.combinations(parts, 2), _MOST_PAIRS)
            if not self.disjoint(a, b)
        ]
        try:
            yield from self._any_of(value, schema, path, depth)
        except Inexpressible:
            if not pairs:
                raise
        yield from pairs

    def _not(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        yield value

    def _if(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        found, unknown = list[Any](), False
        for holds, key in ((True, "then"), (False, "else")):
            try:
                condition = value if holds else self._inner(value, path, depth)
                found.append({"allOf": [condition, self._inner(schema.get(key, True), path, depth)]})
            except Inexpressible:
                unknown = True
        if unknown and not found:
            raise Inexpressible(path)
        yield from found

    def _ref(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        yield from self._alternatives(self.target(value, path), path, depth + 1)

    def _dependent(self, value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[Any]:
        for name, needed in value.items():
            for other in listed(needed):
                yield {"type": "object", "required": [name], "properties": {other: False}}


_Write = Callable[[Negation, Any, Mapping[str, Any], str, int], Iterator[Any]]


def _limit(key: str, to: str) -> _Write:
    return lambda self, value, schema, path, depth: self._limit(value, schema, path, depth, key=key, to=to)


def _count(kind: str, to: str, by: int) -> _Write:
    return lambda self, value, schema, path, depth: self._count(value, schema, path, depth, kind=kind, to=to, by=by)


_KEYWORDS: Mapping[str, _Write] = {
    "type": Negation._type,
    "enum": Negation._enum,
    "const": Negation._const,
    "required": Negation._required,
    "properties": Negation._properties,
    "items": Negation._items,
    "prefixItems": Negation._prefix,
    "contains": Negation._contains,
    "minimum": _limit("minimum", "exclusiveMaximum"),
    "maximum": _limit("maximum", "exclusiveMinimum"),
    "exclusiveMinimum": _limit("exclusiveMinimum", "maximum"),
    "exclusiveMaximum": _limit("exclusiveMaximum", "minimum"),
    "minLength": _count("string", "maxLength", -1),
    "maxLength": _count("string", "minLength", 1),
    "minItems": _count("array", "maxItems", -1),
    "maxItems": _count("array", "minItems", 1),
    "minProperties": _count("object", "maxProperties", -1),
    "maxProperties": _count("object", "minProperties", 1),
    "pattern": Negation._pattern,
    "allOf": Negation._all_of,
    "anyOf": Negation._any_of,
    "oneOf": Negation._one_of,
    "not": Negation._not,
    "if": Negation._if,
    "$ref": Negation._ref,
    "dependentRequired": Negation._dependent,
}
# Keywords that forbid values which cannot be written here: what else a schema forbids is used alone.
_OPAQUE = frozenset(
    {"additionalItems", "additionalProperties", "dependencies", "dependentSchemas", "format", "multipleOf",
     "patternProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "$dynamicRef",
     "$recursiveRef"}
)  # fmt: skip
_NOTES = frozenset(
    {"$ref", "$defs", "definitions", "$id", "$schema", "$comment", "$anchor", "title", "description", "default",
     "examples", "deprecated", "readOnly", "writeOnly"}
)  # fmt: skip


def union(alternatives: Sequence[Any], path: str, *, describes: bool = True) -> Any:
    """Return a schema for any of the alternatives, False if there is none."""
    schema = _any_of(alternatives)
    return Derived(schema, path, describes=describes) if isinstance(schema, Mapping) else schema


def listed(value: Any) -> list[Any]:
    """Return `value` if it is a list, else an empty one: another check reports it."""
    return value if isinstance(value, list) else []


def values_of(schema: Mapping[str, Any]) -> list[Any] | None:
    """Return the values that `schema` lists, None if it lists none."""
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return [*values, *([None] if schema.get("nullable") is True else [])] if isinstance(values, list) else None


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that `schema` allows at most; an integer is a number."""
    kinds = schema.get("type")
    found = set(TYPES) if kinds is None else set(map(str, kinds if isinstance(kinds, list) else [kinds]))
    if "integer" in found:
        found = {*found - {"integer"}, "number"}
    values = values_of(schema)
    if values is not None:
        found &= {_type(value) for value in values}
    return {*found, "null"} if schema.get("nullable") is True else found


def _any_of(alternatives: Sequence[Any]) -> Any:
    if len(alternatives) < 2:
        return alternatives[0] if alternatives else False
    return {"anyOf": list(alternatives)}


def _between(numbers: Sequence[float]) -> Iterator[dict[str, Any]]:
    yield {"type": "number", "exclusiveMaximum": numbers[0]}
    for low, high in itertools.pairwise(numbers):
        yield {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}
    yield {"type": "number", "exclusiveMinimum": numbers[-1]}


def _property(schema: Mapping[str, Any], name: str) -> Any:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    return schema.get("additionalProperties") is not False or "patternProperties" in schema


def _says_more(schema: Mapping[str, Any]) -> bool:
    return bool(schema.keys() - _NOTES)


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    highest, lowest = one.get("maximum"), other.get("minimum")
    return isinstance(highest, (int, float)) and isinstance(lowest, (int, float)) and highest < lowest


def _among(value: Any, values: Sequence[Any]) -> bool:
    return any(_equal(value, each) for each in values)


def _equal(one: Any, other: Any) -> bool:
    return _type(one) == _type(other) and bool(one == other)


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
