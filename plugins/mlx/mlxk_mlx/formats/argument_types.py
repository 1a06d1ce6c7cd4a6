"""Types of a call's arguments, from the tool's schema: what raw text between two tags stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_ALL = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_DEPTH = 8
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def definitions_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions that the parts of `schema` may refer to."""
    return {key: schema[key] for key in ("$defs", "definitions") if isinstance(schema.get(key), Mapping)}


def standing_alone(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of a schema with the `definitions` that it may refer to. One that refers to nothing goes without:
    they would be compiled for nothing."""
    if not isinstance(schema, Mapping):
        return {}
    return {**definitions, **schema} if _refers(schema) else schema


def _refers(schema: Mapping[str, Any]) -> bool:
    left: list[Any] = [schema]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            if not _REFERENCES.isdisjoint(value):
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False


def types_of(schema: Any) -> frozenset[str]:
    """Return the JSON types that `schema` allows, as far as it tells; all of them where it does not."""
    return _types_of(schema, schema, {}, 0)


def _types_of(schema: Any, root: Any, referred: dict[str, frozenset[str]], depth: int) -> frozenset[str]:
    """Return the types of a part of `root`. `referred` has those of the parts that were referred to: each is looked at
    once, also if thousands refer to it."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return _ALL
    found = _ALL
    kinds = schema.get("type")
    if kinds is not None:
        listed = kinds if isinstance(kinds, list) else [kinds]
        found &= {kind for kind in listed if isinstance(kind, str)}
        found |= {"integer"} if "number" in found else set()
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        present = {_type_of(value) for value in values}
        found &= present | ({"number"} if "integer" in present else set())
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found &= frozenset().union(*(_types_of(part, root, referred, depth + 1) for part in schema[key]))
    if isinstance(schema.get("allOf"), list):
        for part in schema["allOf"]:
            found &= _types_of(part, root, referred, depth + 1)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        if reference not in referred:
            referred[reference] = _ALL  # of one that refers to itself
            target: Any = root
            for word in reference[2:].split("/"):
                target = target.get(word.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
            referred[reference] = _types_of(target, root, referred, depth + 1)
        found &= referred[reference]
    if schema.get("nullable") is True:
        found |= {"null"}
    return frozenset(found)


def value_of(text: str, schema: Any) -> Any:
    """Return what raw `text` of an argument stands for: itself where only strings are allowed, else JSON where it is
    JSON of an allowed type. Raises `ValueError` where it is neither."""
    kinds = types_of(schema)
    if kinds == {"string"}:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if "string" in kinds:
            return text
        raise ValueError(f"{text!r} is not a value of type {', '.join(sorted(kinds))}") from None
    if _type_of(value) in kinds:
        return value
    if "string" in kinds:
        return text
    return value


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
