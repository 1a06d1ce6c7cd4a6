"""The shortest value that a schema allows: some have no end, or are longer than any response."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_MOST_VISITS = 100_000
"""Parts of a schema that are measured, together; a schema that needs more is not judged."""

Node = Mapping[str, Any]


class _GivenUp(Exception):
    pass


@dataclass(slots=True)
class ShortestValue:
    """Lower bounds of the length of values, in characters of compact JSON. `definitions` are those of the schema."""

    definitions: Mapping[str, Any]
    _lengths: dict[str, float] = field(default_factory=dict)
    _visits: int = 0

    def length(self, root: Node) -> float:
        """Return the least length of a value of `root`, infinite if each value contains another without end; 0 if that
        would take too long to find out."""
        self._lengths = dict.fromkeys(self.definitions, math.inf)
        users: dict[str, set[str]] = {}
        for name, part in self.definitions.items():
            for used in _references(part):
                users.setdefault(used, set()).add(name)
        waiting = dict.fromkeys(self.definitions)
        try:
            while waiting:
                name, _ = waiting.popitem()
                found = self.measure(self.definitions[name])
                if found < self._lengths[name]:
                    self._lengths[name] = found
                    waiting.update(dict.fromkeys(users.get(name, ())))
            return self.measure(root)
        except _GivenUp:
            return 0

    def exceeds(self, node: Any, limit: float) -> bool:
        """Return whether each value of `node` is longer than `limit`; False if that takes too long to find out."""
        self._visits = 0
        try:
            return self.measure(node) > limit
        except _GivenUp:
            return False

    def measure(self, node: Any) -> float:
        """Return the least length of a value of `node`, with what is known about the definitions."""
        self._visits += 1
        if self._visits > _MOST_VISITS:
            raise _GivenUp
        if not isinstance(node, Mapping):
            return math.inf if node is False else 1
        lengths = [1.0, *map(self.measure, node.get("allOf", ()))]
        if "anyOf" in node:
            lengths.append(min(map(self.measure, node["anyOf"])))
        if "$ref" in node:
            lengths.append(self._lengths.get(_name(node["$ref"]), 1.0))
        if "const" not in node and "enum" not in node:
            lengths.append(min((self._of_type(node, kind) for kind in _kinds(node)), default=1))
        return max(lengths)

    def _of_type(self, node: Node, kind: str) -> float:
        match kind:
            case "object":
                members = [len(name) + 4 + self.measure(part) for name, part in _members(node)]
                return sum(members, float(max(2, len(members) + 1)))
            case "array":
                least = node.get("minItems", 0)
                prefix = node.get("prefixItems", ())[:least]
                rest = least - len(prefix)
                items: float = rest * self.measure(node.get("items", True)) if rest else 0
                return sum(map(self.measure, prefix), items + max(2, least + 1))
            case "string":
                return 2 + float(node.get("minLength", 0))
        return 1

    def needed(self, node: Node) -> Iterator[Any]:
        """Yield the parts that each value of `node` has a value of, with the definition for a reference."""
        yield from node.get("allOf", ())
        if len(node.get("anyOf", ())) == 1:
            yield node["anyOf"][0]
        if "$ref" in node:
            yield self.definitions.get(_name(node["$ref"]))
        match _kinds(node):
            case ["object"]:
                yield from (part for _, part in _members(node))
            case ["array"]:
                least = node.get("minItems", 0)
                prefix = node.get("prefixItems", ())[:least]
                yield from prefix
                if least > len(prefix):
                    yield node.get("items")


def _members(node: Node) -> Iterator[tuple[str, Any]]:
    properties = node.get("properties", {})
    return ((name, properties.get(name, True)) for name in node.get("required", ()))


def _kinds(node: Node) -> list[str]:
    kinds = node.get("type", ())
    return list(kinds) if isinstance(kinds, (list, tuple)) else [kinds]


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _references(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("$ref"), str):
                yield _name(value["$ref"])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
