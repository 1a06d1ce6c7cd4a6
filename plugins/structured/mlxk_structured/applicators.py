"""Keywords that llguidance does not compile, written with those it does: `not`, `if`, `oneOf`, `contains`, `dependent…`
and `unevaluated…`.

The result never allows more than the schema. It may allow less, where what a schema forbids can be written in part.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlxk_structured.negation import Derived, Inexpressible, Negation, listed, union

REWRITTEN = frozenset(
    {"not", "if", "then", "else", "oneOf", "contains", "minContains", "maxContains", "dependencies",
     "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems"}
)  # fmt: skip
_MOST_CHOICES = 64
"""Combinations of branches that `unevaluated…` is written for."""
_MOST_CONTAINED = 1_000
_MOST_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Applicators:
    """Rewrites one schema at a time; its parts are rewritten when their turn comes.

    `target` returns the schema that a local reference names, `define` makes a reference to a schema.
    """

    target: Callable[[str, str], Any]
    define: Callable[[str, Mapping[str, Any]], str]

    @property
    def _negation(self) -> Negation:
        return Negation(self.target)

    def rewrite(self, schema: Mapping[str, Any], path: str, *, lenient: bool) -> Mapping[str, Any]:
        """Return `schema` without the keywords of `REWRITTEN`. Raises `Inexpressible`; `lenient` leaves such a keyword
        out instead."""
        if not schema.keys() & REWRITTEN:
            return schema
        parts: list[Any] = []
        for write in (self._not, self._if, self._one_of, self._contains, self._dependent):
            try:
                parts += write(schema, path)
            except Inexpressible:
                if not lenient:
                    raise
                if write == self._one_of:
                    parts.append(Derived({"anyOf": schema["oneOf"]}, f"{path}.oneOf"))
        result = {key: value for key, value in schema.items() if key not in REWRITTEN}
        if parts:
            result["allOf"] = [*listed(schema.get("allOf")), *parts]
        for key, closing in (("unevaluatedProperties", _no_other_properties), ("unevaluatedItems", _no_other_items)):
            if schema.get(key, True) not in (True, {}):
                self._close(schema, result, key, f"{path}.{key}", closing)
        return result

    def is_plain(self, schema: Mapping[str, Any]) -> bool:
        """Return whether the rewritten schema intersects no others: at most a `oneOf` of disjoint schemas."""
        parts = listed(schema.get("oneOf"))
        return not schema.keys() & (REWRITTEN - {"oneOf"}) and all(
            self._negation.disjoint(a, b) for a, b in itertools.combinations(parts, 2)
        )

    def _not(self, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
        if "not" in schema:
            yield self._negation.negated(schema["not"], f"{path}.not")

    def _if(self, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
        if "if" not in schema or not schema.keys() & {"then", "else"}:
            return
        condition = _at(schema["if"], f"{path}.if")
        then, other = (_at(schema.get(key, True), f"{path}.{key}") for key in ("then", "else"))
        branches = [Derived({"allOf": [condition, then]}, f"{path}.then")]
        try:
            otherwise = self._negation.negated(schema["if"], f"{path}.if")
        except Inexpressible:
            otherwise = False  # the condition has to hold
        if otherwise is not False:
            branches.append(Derived({"allOf": [otherwise, other]}, f"{path}.else"))
        yield union(branches, f"{path}.if")

    def _one_of(self, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
        path = f"{path}.oneOf"
        if "oneOf" not in schema:
            return
        given = schema["oneOf"]
        if not isinstance(given, list) or not given:
            raise Inexpressible(path, "it must be a list of schemas with at least one")
        parts = [_at(part, f"{path}[{i}]") for i, part in enumerate(tagged(self, given, schema.get("discriminator")))]
        negation, alternatives, problem = self._negation, [], None
        for i, part in enumerate(parts):
            try:
                others = [
                    negation.negated(other, f"{path}[{j}]")
                    for j, other in enumerate(given)
                    if j != i and not negation.disjoint(part, other)
                ]
            except Inexpressible as error:
                problem = error
                continue
            alternatives.append(Derived({"allOf": [part, *others]}, f"{path}[{i}]") if others else part)
        if not alternatives:
            assert problem is not None
            raise Inexpressible(path, "values that match one of the schemas only cannot be told apart; use anyOf")
        yield union(alternatives, path)

    def _contains(self, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
        if "contains" not in schema:
            return
        least, most = schema.get("minContains", 1), schema.get("maxContains")
        for key, count in (("minContains", least), ("maxContains", most)):
            if count is None:
                continue
            if isinstance(count, bool) or not isinstance(count, (int, float)) or count < 0 or count % 1 != 0:
                raise Inexpressible(f"{path}.{key}", "it must be a whole number of 0 or more")
        if least > _MOST_CONTAINED:
            raise Inexpressible(f"{path}.minContains", f"{least} is not supported: the limit is {_MOST_CONTAINED}")
        least = int(least)
        if most is not None and most < least:
            yield from _of_type("array", False, schema, path)
            return
        wanted = [_at(schema["contains"], f"{path}.contains")] * least
        placed = [wanted]
        if given := len(listed(schema.get("prefixItems"))):
            placed.append([*[True] * given, *wanted])
        branches = []
        for prefix in placed:
            branch: dict[str, Any] = {"minItems": len(prefix), "prefixItems": prefix}
            if most is not None:
                branch.update(self._no_more(schema["contains"], prefix, least, f"{path}.contains"))
            branches.append(branch)
        yield from _of_type("array", union([{"type": "array", **each} for each in branches], path), schema, path)

    def _no_more(self, contained: Any, prefix: list[Any], least: int, path: str) -> dict[str, Any]:
        """Return the rest of an array that contains enough matches; in the prefix, no other item may match."""
        try:
            other = self._negation.negated(contained, path)
        except Inexpressible:
            other = False
        return {"prefixItems": [other if each is True else each for each in prefix], "items": other}

    def _dependent(self, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
        for key in ("dependencies", "dependentRequired", "dependentSchemas"):
            given = schema.get(key)
            if given is None:
                continue
            if not isinstance(given, Mapping):
                raise Inexpressible(f"{path}.{key}", "it must be an object")
            for name, needed in given.items():
                at = f"{path}.{key}.{name}"
                if isinstance(needed, list):
                    then: list[Any] = [{"required": [name, *needed]}]
                else:
                    then = [{"required": [name]}, _at(needed, at)]
                with_it = Derived(
                    {"type": "object", "allOf": then} if len(then) > 1 else {"type": "object", **then[0]}, at
                )
                without = Derived({"type": "object", "properties": {name: False}}, at, describes=False)
                branches = [with_it] if name in listed(schema.get("required")) else [without, with_it]
                yield from _of_type("object", union(branches, at), schema, at)

    def _close(
        self,
        schema: Mapping[str, Any],
        result: dict[str, Any],
        key: str,
        path: str,
        closing: Callable[[_Described, Any], dict[str, Any] | None],
    ) -> None:
        """Add to `result` what `unevaluated…` forbids, for every combination of the branches of its choices."""
        value = _at(schema[key], path)
        common, groups = self._described({**result, key: True}, 0)
        # The choices at the top are replaced by the combinations of their branches.
        result.pop("anyOf", None)
        parts = [part for part in listed(result.pop("allOf", None)) if not (_is_choice(part))]
        combinations = []
        for chosen in itertools.islice(itertools.product(*groups), _MOST_CHOICES):
            known = common
            for branch in chosen:
                known = known.with_(self._described(branch, 0)[0])
            closed = closing(known, value)
            branches = [*chosen, *([] if closed is None else [Derived({**_typed(schema, key), **closed}, path)])]
            combinations.append(branches[0] if len(branches) == 1 else Derived({"allOf": branches}, path))
        if combinations and combinations != [Derived({"allOf": []}, path)]:
            parts.append(union(combinations, path))
        if parts:
            result["allOf"] = parts

    def _described(self, schema: Any, depth: int) -> tuple[_Described, list[list[Any]]]:
        """Return what `schema` says about properties and items in any case, and its choices."""
        found, groups = _Described(), list[list[Any]]()
        if not isinstance(schema, Mapping) or (isinstance(schema, Derived) and not schema.describes):
            return found, groups
        if depth > _MOST_DEPTH:
            return found, groups
        if depth:
            schema = self.rewrite(schema, "$", lenient=True)
        found = found.with_(_Described.of(schema))
        if choice := listed(schema.get("anyOf")):
            groups.append(choice)
        inner = listed(schema.get("allOf"))
        if isinstance(schema.get("$ref"), str):
            inner = [*inner, self.target(schema["$ref"], "$ref")]
        for part in inner:
            more, others = self._described(part, depth + 1)
            found = found.with_(more)
            groups += others
        return found, groups


@dataclass(frozen=True, slots=True)
class _Described:
    """The properties and the number of items that schemas describe; `all_…` if they describe every one."""

    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    all_properties: bool = False
    items: int = 0
    all_items: bool = False

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> _Described:
        properties, patterns = schema.get("properties"), schema.get("patternProperties")
        items, prefix = schema.get("items"), listed(schema.get("prefixItems"))
        if isinstance(items, list):
            prefix, items = items, schema.get("additionalItems")
        return cls(
            frozenset(properties if isinstance(properties, Mapping) else ()),
            frozenset(patterns if isinstance(patterns, Mapping) else ()),
            "additionalProperties" in schema,
            len(prefix),
            items is not None,
        )

    def with_(self, other: _Described) -> _Described:
        return _Described(
            self.names | other.names,
            self.patterns | other.patterns,
            self.all_properties or other.all_properties,
            max(self.items, other.items),
            self.all_items or other.all_items,
        )


def _no_other_properties(known: _Described, value: Any) -> dict[str, Any] | None:
    if known.all_properties:
        return None
    closed: dict[str, Any] = {"properties": dict.fromkeys(sorted(known.names), True), "additionalProperties": value}
    if known.patterns:
        closed["patternProperties"] = dict.fromkeys(sorted(known.patterns), True)
    return closed


def _no_other_items(known: _Described, value: Any) -> dict[str, Any] | None:
    return None if known.all_items else {"prefixItems": [True] * known.items, "items": value}


def _typed(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {"type": schema.get("type", "object" if key == "unevaluatedProperties" else "array")}


def _is_choice(part: Any) -> bool:
    return isinstance(part, Derived) and part.describes and part.keys() == {"anyOf"}


def _of_type(kind: str, part: Any, schema: Mapping[str, Any], path: str) -> Iterator[Any]:
    """A part that concerns values of one type: `schema` may allow values of others."""
    kinds = schema.get("type")
    others = [each for each in (kinds if isinstance(kinds, list) else [kinds]) if each not in (kind, None)]
    yield union([part, {"type": others}], path) if others else part


def _at(schema: Any, path: str) -> Any:
    return Derived(schema, path) if isinstance(schema, Mapping) and not isinstance(schema, Derived) else schema


def tagged(applicators: Applicators, parts: list[Any], discriminator: Any) -> list[Any]:
    """Return the parts of a union, each with its `discriminator` as a property that it must have."""
    name = discriminator.get("propertyName") if isinstance(discriminator, Mapping) else None
    if not isinstance(name, str):
        return parts
    mapping = discriminator.get("mapping")
    keys = {ref: key for key, ref in mapping.items() if isinstance(ref, str)} if isinstance(mapping, Mapping) else {}
    result = []
    for part in parts:
        pointer = part.get("$ref") if isinstance(part, Mapping) else None
        described = applicators.target(pointer, "$ref") if isinstance(pointer, str) else part
        if not isinstance(described, Mapping):
            result.append(part)
            continue
        properties = described.get("properties")
        tag = properties.get(name) if isinstance(properties, Mapping) else None
        changed = dict(described)
        if name not in listed(described.get("required")):
            changed["required"] = [*listed(described.get("required")), name]
        if isinstance(pointer, str) and isinstance(tag, Mapping) and tag.keys() <= {"type", "title", "description"}:
            key = keys.get(pointer, pointer.rpartition("/")[2] if not keys else None)
            if key is not None:
                changed["properties"] = {**described["properties"], name: {**tag, "const": key}}
        if changed == described:
            result.append(part)
        elif isinstance(pointer, str):
            result.append({"$ref": applicators.define(f"{pointer} with {name}", changed)})
        else:
            result.append(changed)
    return result
