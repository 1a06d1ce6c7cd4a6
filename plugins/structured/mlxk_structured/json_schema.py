"""JSON Schemas as clients write them, checked and rewritten into the dialect that llguidance compiles.

Drafts 4 to 2020-12, OpenAPI's `nullable` and `discriminator`, and what pydantic and zod generate. The result allows
nothing that the schema forbids; where the schema is open, it may allow less (properties come in the order of the
schema, and an object with `properties` gets no others unless the schema asks for them).
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from mlxk_structured.applicators import Applicators, tagged
from mlxk_structured.ecma_regex import UnsupportedPattern, of_length, whole_match
from mlxk_structured.identifiers import with_pointers
from mlxk_structured.negation import Derived, Inexpressible
from mlxk_structured.shortest_value import ShortestValue
from mlxk_structured.tokenizer import matches

DISTINCT = "x-mlxk-distinct"
"""The mark of an array whose items are distinct, or an object whose keys must be: a grammar cannot say it."""
MAX_VALUES = 50_000
"""JSON values in a schema, all levels together."""
MAX_SCHEMAS = 3_000
MAX_ENUM_PARTS = 5_000
"""Objects and arrays in all enums, and their values: llguidance makes a rule of each."""
MAX_DEPTH = 64
MAX_MULTIPLE = 10_000
MAX_PROPERTY_SETS = 64
"""Sets of optional properties that are tried where their number is limited; of more, the first ones."""
MAX_COUNT = 1_000_000
MAX_INTEGER = 1 << 63
MAX_SHORTEST = 1_000_000
"""Characters of the shortest value."""

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_FORMATS = frozenset(
    {"duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
)  # fmt: skip
_DATE = (
    "[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.][0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_OWN_FORMATS = {"date": _DATE, "time": _TIME, "date-time": f"{_DATE}T{_TIME}"}
"""Formats without what RFC 3339 allows and libraries reject: leap seconds, small letters, the year 0."""
_NAME_FORMATS = {
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "date": _DATE,
}
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_TYPE = {
    "object": ("properties", "patternProperties", "additionalProperties", "required", "propertyNames",
               "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
}  # fmt: skip
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf")


class SchemaError(ValueError):
    """A schema is invalid or not supported. `path` is where, in the form `$.properties.age.minimum`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema in llguidance's dialect. `places` are its parts with the path each had in the client's schema."""

    root: Mapping[str, Any]
    definitions: Mapping[str, Any]
    places: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    distinct: bool = False
    """Any part of it has the mark `DISTINCT`."""
    levels: int = 0
    """Levels of the root and of every definition, together: as deep as references can nest."""

    def document(self, part: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A schema, or one part of it, as a separate document."""
        document = dict(self.root if part is None else part)
        if self.definitions:
            document["$defs"] = dict(self.definitions)
        return document


def normalize(schema: Any, *, lenient: bool = False) -> Schema:
    """Check `schema` and rewrite it. Raises `SchemaError`.

    `lenient` drops what is valid but not supported, so that the result may allow more than the schema.
    """
    if not isinstance(schema, (Mapping, bool)):
        raise SchemaError("$", f"a schema must be an object, not {_kind(schema)}")
    _check_size(schema)
    schema = with_pointers(schema)
    rewriting = _Rewriting(schema, lenient)
    root, levels = rewriting.rewrite(schema, "$", 0), rewriting.deepest
    while rewriting.pending:
        pointer, name = rewriting.pending.popitem()
        target = rewriting.target(pointer, f"$ref {pointer}")
        rewriting.deepest = 0
        rewriting.definitions[name] = rewriting.rewrite(target, _path_of(pointer), 0)
        levels += 1 + rewriting.deepest
    result = Schema(root, rewriting.definitions, tuple(rewriting.places), rewriting.distinct, levels)
    _check_shortest(result)
    return result


def _check_shortest(schema: Schema) -> None:
    """Raise `SchemaError` for a schema that no response can match because its values are too long."""
    shortest = ShortestValue(schema.definitions)
    length = shortest.length(schema.root)
    if length <= MAX_SHORTEST:
        return
    paths = {id(part): path for path, part in schema.places}
    part: Any = schema.root
    path, seen = "$", set[int]()
    while isinstance(part, Mapping) and id(part) not in seen:
        seen.add(id(part))
        path = paths.get(id(part), path)
        part = next((inner for inner in shortest.needed(part) if shortest.exceeds(inner, MAX_SHORTEST)), None)
    if part is False:
        return  # no value at all: the compiler reports where
    if math.isinf(length):
        raise SchemaError(path, "no value of finite length is valid")
    raise SchemaError(path, f"the shortest value has {length:.0f} characters; at most {MAX_SHORTEST} are supported")


def _check_size(schema: Any) -> None:
    values, levels = [schema], 0
    count = 0
    while values:
        count += len(values)
        levels += 1
        if count > MAX_VALUES:
            raise SchemaError("$", f"the schema has more than {MAX_VALUES} values")
        if levels > 2 * MAX_DEPTH:
            raise SchemaError("$", f"the schema is nested deeper than {MAX_DEPTH} levels")
        values = [inner for value in values for inner in _children(value)]


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else ()


@dataclass(slots=True)
class _Rewriting:
    document: Any
    lenient: bool
    definitions: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    places: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    schemas: int = 0
    deepest: int = 0
    enum_parts: int = 0
    anchors: dict[str, Any] = field(default_factory=dict)
    combines: bool = False
    multiples: int = 1
    distinct: bool = False

    def __post_init__(self) -> None:
        for part in _every_object(self.document):
            for key in ("$anchor", "$dynamicAnchor", "$id", "id"):
                if isinstance(name := part.get(key), str) and (part is not self.document or key.endswith("nchor")):
                    self.anchors.setdefault(f"#{name}" if key.endswith("nchor") else name, part)
            combining = part.keys() & set(_COMBINING)
            objects = part.keys() & {"properties", "required", "additionalProperties"}
            self.combines |= "allOf" in combining or len(combining) > 1 or bool(combining and objects)
        self.combines = self.combines or not all(map(self._applicators.is_plain, _every_object(self.document)))

    @property
    def _applicators(self) -> Applicators:
        return Applicators(self.target, self._define)

    def _define(self, pointer: str, schema: Mapping[str, Any]) -> str:
        self.anchors.setdefault(pointer, schema)
        return pointer

    def rewrite(self, schema: Any, path: str, depth: int) -> Any:
        if isinstance(schema, Derived):
            path = schema.path
        self.schemas += 1
        self.deepest = max(self.deepest, depth)
        if self.schemas > MAX_SCHEMAS:
            raise SchemaError(path, f"the schema has more than {MAX_SCHEMAS} parts")
        if depth > MAX_DEPTH:
            raise SchemaError(path, f"the schema is nested deeper than {MAX_DEPTH} levels")
        if schema is True:
            return {}
        if schema is False:
            if path == "$":
                raise SchemaError("$", "no value is valid")
            return False
        if not isinstance(schema, Mapping):
            raise SchemaError(path, f"a schema must be an object or a boolean, not {_kind(schema)}")
        result = self._object(schema, path, depth)
        self.places.append((path, result))
        return result

    def target(self, pointer: str, path: str) -> Any:
        """The schema that a local reference names."""
        own = self.document.get("$id", self.document.get("id")) if isinstance(self.document, Mapping) else None
        if (
            isinstance(own, str)
            and own
            and pointer not in self.anchors
            and pointer.partition("#")[0] == own.rstrip("#")
        ):
            pointer = f"#{pointer.partition('#')[2]}"
        if pointer in self.anchors:
            return self.anchors[pointer]
        if pointer in ("#", ""):
            return self.document
        if not pointer.startswith("#/"):
            if pointer.startswith("#"):
                raise SchemaError(path, f"{pointer!r} is not an anchor of this schema")
            raise SchemaError(path, f"{pointer!r} is not in this schema, and references are never fetched")
        value = self.document
        for word in pointer[2:].split("/"):
            word = unquote(word).replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and word in value:
                value = value[word]
            elif isinstance(value, list) and word.isascii() and word.isdigit() and int(word) < len(value):
                value = value[int(word)]
            else:
                raise SchemaError(path, f"{pointer!r} is not in this schema")
        if not isinstance(value, (Mapping, bool)):
            raise SchemaError(path, f"{pointer!r} names {_kind(value)}, not a schema")
        return value

    def _dynamic(self, schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """`schema` with a dynamic reference as a plain one, where it can only mean one schema."""
        for key in ("$dynamicRef", "$recursiveRef"):
            if key not in schema:
                continue
            name = schema[key]
            scopes = [part for part in _every_object(self.document) if part.get("$id") and part is not self.document]
            anchors = [part for part in _every_object(self.document) if f"#{part.get('$dynamicAnchor')}" == name]
            if scopes or len(anchors) > 1 or not isinstance(name, str) or "$ref" in schema:
                raise SchemaError(f"{path}.{key}", "only a reference that can mean one schema is supported")
            schema = {**{word: value for word, value in schema.items() if word != key}, "$ref": name}
        return schema

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        schema = self._dynamic(schema, path)
        try:
            schema = self._applicators.rewrite(schema, path, lenient=self.lenient)
        except Inexpressible as error:
            raise SchemaError(error.path, error.problem) from None
        result: dict[str, Any] = {}
        self._type(schema, path, result)
        for key in ("const", "enum"):
            if key in schema:
                self._values(schema, key, path, result)
        self._strings(schema, path, result)
        self._numbers(schema, path, result)
        self._counts(schema, path, result)
        self._array(schema, path, depth, result)
        self._properties(schema, path, depth, result)
        self._combined(schema, path, depth, result)
        if schema.get("nullable") is True:
            result = _nullable(result)
        elif "nullable" in schema and not isinstance(schema["nullable"], bool):
            raise SchemaError(f"{path}.nullable", f"it must be true or false, not {_kind(schema['nullable'])}")
        return result

    def _type(self, schema: Mapping[str, Any], path: str, result: dict[str, Any]) -> None:
        kinds = schema.get("type")
        if kinds is None:
            if not schema.keys() & {"enum", "const", *_COMBINING}:
                inferred = [kind for kind, keys in _OF_TYPE.items() if schema.keys() & set(keys)]
                if len(inferred) == 1:
                    result["type"] = inferred[0]
            return
        listed = kinds if isinstance(kinds, list) else [kinds]
        for kind in listed:
            if not isinstance(kind, str) or kind not in _TYPES:
                raise SchemaError(f"{path}.type", f"{_quote(kind)} is not a type; the types are {', '.join(_TYPES)}")
        if not listed:
            raise SchemaError(f"{path}.type", "the list of types is empty")
        result["type"] = kinds

    def _values(self, schema: Mapping[str, Any], key: str, path: str, result: dict[str, Any]) -> None:
        value = schema[key]
        if key == "enum":
            if not isinstance(value, list):
                raise SchemaError(f"{path}.enum", f"it must be a list, not {_kind(value)}")
            if not value:
                raise SchemaError(f"{path}.enum", "the list is empty, so that no value is valid")
        inner = [value] if key == "const" else value
        while inner := [each for each in inner if _children(each)]:
            self.enum_parts += len(inner)
            inner = [part for each in inner for part in _children(each)]
            self.enum_parts += len(inner)
            if self.enum_parts > MAX_ENUM_PARTS:
                raise SchemaError(f"{path}.{key}", f"the values of all enums have more than {MAX_ENUM_PARTS} parts")
        result[key] = value

    def _strings(self, schema: Mapping[str, Any], path: str, result: dict[str, Any]) -> None:
        if "pattern" in schema:
            first, *others = self._pattern(schema["pattern"], f"{path}.pattern")
            result["pattern"] = first
            if others:
                result["allOf"] = [{"type": "string", "pattern": other} for other in others]
        if "format" in schema:
            if not isinstance(schema["format"], str):
                raise SchemaError(f"{path}.format", f"it must be a string, not {_kind(schema['format'])}")
            if schema["format"] in _OWN_FORMATS and "pattern" not in schema:
                result["pattern"] = f"^(?:{_OWN_FORMATS[schema['format']]})$"
            elif schema["format"] in _FORMATS and "pattern" not in schema:
                result["format"] = schema["format"]

    def _pattern(self, pattern: Any, path: str) -> list[str]:
        if not isinstance(pattern, str):
            raise SchemaError(path, f"it must be a string, not {_kind(pattern)}")
        try:
            return [f"^(?:{each})$" for each in whole_match(pattern)]
        except UnsupportedPattern as error:
            if self.lenient:
                return ["^(?s:.)*$"]
            raise SchemaError(path, f"the pattern {_quote(pattern)} is not supported: {error}") from None

    def _numbers(self, schema: Mapping[str, Any], path: str, result: dict[str, Any]) -> None:
        for key in _LIMITS:
            value = schema.get(key)
            if value is None or (isinstance(value, bool) and key.startswith("exclusive")):
                continue
            result[key] = self._number(value, f"{path}.{key}")
            # llguidance takes a limit outside 64 bits for the last number inside.
            if (key.endswith("inimum") and value >= MAX_INTEGER) or (key.endswith("aximum") and value <= -MAX_INTEGER):
                raise SchemaError(f"{path}.{key}", f"{value} is not supported: the limit is 2^63")
        for key, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if schema.get(key) is True and limit in result:  # draft 4
                result[key] = result.pop(limit)
        if schema.get("multipleOf") is not None:
            value = self._number(schema["multipleOf"], f"{path}.multipleOf")
            exact = Fraction(str(value))
            if exact <= 0:
                raise SchemaError(f"{path}.multipleOf", f"it must be above 0, not {value}")
            self.multiples = math.lcm(self.multiples, exact.numerator) if self.combines else exact.numerator
            if max(self.multiples, exact.denominator) > MAX_MULTIPLE:
                raise SchemaError(f"{path}.multipleOf", f"{value} is not supported: the limit is {MAX_MULTIPLE}")
            result["multipleOf"] = value

    def _number(self, value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
            raise SchemaError(path, f"it must be a number, not {_kind(value)}")
        if abs(value) > sys.float_info.max:  # a whole number
            raise SchemaError(path, "the number is too large")
        return value

    def _counts(self, schema: Mapping[str, Any], path: str, result: dict[str, Any]) -> None:
        for key in _COUNTS:
            value = schema.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value % 1 != 0:
                raise SchemaError(f"{path}.{key}", f"it must be a whole number of 0 or more, not {_quote(value)}")
            if value > MAX_COUNT:
                if key.startswith("max"):
                    continue  # no answer is that long
                raise SchemaError(f"{path}.{key}", f"{value} is not supported: the limit is {MAX_COUNT}")
            result[key] = int(value)

    def _array(self, schema: Mapping[str, Any], path: str, depth: int, result: dict[str, Any]) -> None:
        items, prefix = schema.get("items"), schema.get("prefixItems")
        rest = items
        if isinstance(items, list):  # before 2020-12
            prefix, rest = items, schema.get("additionalItems")
        if prefix is not None:
            result["prefixItems"] = self._list(prefix, f"{path}.prefixItems", depth, may_be_empty=True)
        if rest is not None:
            result["items"] = False if rest is False else self.rewrite(rest, f"{path}.items", depth + 1)
        unique = schema.get("uniqueItems")
        if unique is not None and not isinstance(unique, bool):
            raise SchemaError(f"{path}.uniqueItems", f"it must be true or false, not {_kind(unique)}")
        if unique and result.get("maxItems", 2) > 1:
            count = _count_values(result.get("items", {}))
            if count is not None and count < result.get("minItems", 0) and "prefixItems" not in result:
                raise SchemaError(f"{path}.uniqueItems", f"{result['minItems']} distinct items of {count} values")
            result[DISTINCT] = self.distinct = True

    def _properties(self, schema: Mapping[str, Any], path: str, depth: int, result: dict[str, Any]) -> None:
        properties = self._map(schema, "properties", path, depth)
        if properties is not None:
            result["properties"] = properties
        patterns = self._map(schema, "patternProperties", path, depth)
        if patterns:
            result["patternProperties"] = {}
            for pattern, inner in patterns.items():
                found = self._pattern(pattern, f"{path}.patternProperties")
                if len(found) > 1:
                    raise SchemaError(f"{path}.patternProperties", f"the pattern {_quote(pattern)} is not supported")
                result["patternProperties"][found[0]] = inner
        required = schema.get("required")
        if isinstance(required, bool):  # draft 3, which some clients still write
            required = None
        if required is not None:
            if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
                raise SchemaError(f"{path}.required", "it must be a list of strings")
            result["required"] = list(dict.fromkeys(required))
        extra = schema.get("additionalProperties")
        if extra is not None:
            result["additionalProperties"] = (
                extra if isinstance(extra, bool) else self.rewrite(extra, f"{path}.additionalProperties", depth + 1)
            )
        elif properties and not self.combines and not patterns and set(result.get("required", ())) <= properties.keys():
            result["additionalProperties"] = False
        if schema.get("propertyNames") is not None:
            self._names(schema["propertyNames"], f"{path}.propertyNames", result)
        if choices := self._property_counts(path, result):
            result["allOf"] = [*result.get("allOf", ()), {"anyOf": choices}]

    def _names(self, names: Any, path: str, result: dict[str, Any]) -> None:
        """`propertyNames`, for maps: what zod's records and pydantic's dicts with constrained keys need."""
        for _ in range(MAX_DEPTH):
            if not isinstance(names, Mapping) or not isinstance(names.get("$ref"), str):
                break
            names = self.target(names["$ref"], f"{path}.$ref")
        if names is False:
            result.update(
                {"properties": dict.fromkeys(result.get("properties", {}), False), "additionalProperties": False}
            )
            return
        if not isinstance(names, Mapping):
            if names is not True:
                raise SchemaError(path, f"a schema must be an object or a boolean, not {_kind(names)}")
            return
        allowed = names.get("enum") if "const" not in names else [names["const"]]
        values = result.get("additionalProperties", {})
        if isinstance(allowed, list):
            self._only_names([name for name in allowed if isinstance(name, str)], values, result)
            return
        if not names.keys() & {*_OF_TYPE["string"], *_COMBINING, "not", "if"}:
            return
        pattern = self._name_pattern(names, path)
        if pattern is None or (result.get("patternProperties") and values is not False):
            if not self.lenient:
                raise SchemaError(path, "only an enum, a pattern, a length or a format (uuid, date) is supported here")
            return
        properties = result.get("properties", {})
        result["properties"] = {name: matches(pattern, name) and part for name, part in properties.items()}
        if values is not False:
            if properties and values not in (True, {}):
                raise SchemaError(path, "it is not supported together with `properties` and `additionalProperties`")
            result["patternProperties"] = {f"^(?:{pattern})$": {} if values is True else values}
            result["additionalProperties"] = False

    def _only_names(self, allowed: list[str], values: Any, result: dict[str, Any]) -> None:
        properties = result.get("properties", {})
        if result.get("patternProperties"):
            raise SchemaError("$.propertyNames", "it is not supported together with `patternProperties`")
        kept = {name: part if name in allowed else False for name, part in properties.items()}
        others = {name: {} if values is True else values for name in allowed if name not in properties}
        result["properties"] = {**kept, **(others if values is not False else {})}
        result["additionalProperties"] = False

    def _name_pattern(self, names: Mapping[str, Any], path: str) -> str | None:
        """The expression that a name must match, None if one does not suffice."""
        found = []
        if "pattern" in names:
            found += [
                each.removeprefix("^(?:").removesuffix(")$")
                for each in self._pattern(names["pattern"], f"{path}.pattern")
            ]
        least, most = names.get("minLength"), names.get("maxLength")
        for count in (least, most):
            if count is not None and (
                isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_COUNT
            ):
                raise SchemaError(path, "a length must be a whole number of 0 or more")
        if least or most is not None:
            both = of_length(names["pattern"], least or 0, most) if found else None
            found = [both] if both else [*found, f"(?s:.){{{least or 0},{'' if most is None else most}}}"]
        if "format" in names and "pattern" not in names:
            if (form := _NAME_FORMATS.get(str(names["format"]))) is None:
                return None
            found.append(form)
        return found[0] if len(found) == 1 and not names.keys() & {*_COMBINING, "not", "if"} else None

    def _property_counts(self, path: str, result: dict[str, Any]) -> list[Any]:
        """Settle how many properties an object has; return the choices between those that are optional."""
        properties = result.get("properties", {})
        required = list(result.get("required", ()))
        optional = [name for name, part in properties.items() if name not in required and part is not False]
        closed = result.get("additionalProperties") is False and not result.get("patternProperties")
        if result.get("minProperties", 0) <= len(required):
            result.pop("minProperties", None)
        if closed and result.get("maxProperties", 0) >= len(required) + len(optional):
            result.pop("maxProperties", None)
        least, most = result.get("minProperties"), result.get("maxProperties")
        if least is None and most is None:
            return []
        if not optional:
            if (least or 0) > 1 and not closed:
                # llguidance lets a map repeat a key, and a parser keeps the last one only.
                result[DISTINCT] = self.distinct = True
            return []
        # llguidance counts where every named property is required: one choice for each set of optional ones.
        least, most = max(0, (least or 0) - len(required)), len(optional) if most is None else most - len(required)
        result.pop("minProperties", None)
        result.pop("maxProperties", None)
        if most < least or (closed and least > len(optional)):
            raise SchemaError(path, "no object has this number of properties")
        if least > len(optional):
            raise SchemaError(f"{path}.minProperties", "more than the named properties is not supported here")
        if not closed:
            result["additionalProperties"] = False
            result.pop("patternProperties", None)
        needed = [{"type": "object", "required": list(names)} for names in _sets(optional, least)] if least else []
        if most >= len(optional):
            return needed
        absent = [
            {"type": "object", "properties": dict.fromkeys(names, False)}
            for names in _sets(optional, len(optional) - most)
        ]
        return [{"allOf": [one, other]} for one in needed for other in absent] if needed else absent

    def _combined(self, schema: Mapping[str, Any], path: str, depth: int, result: dict[str, Any]) -> None:
        if "$ref" in schema:
            result["$ref"] = self._reference(schema["$ref"], f"{path}.$ref")
        for key in ("allOf", "anyOf"):
            given = schema.get(key)
            if given is None:
                continue
            if key == "anyOf" and isinstance(given, list):
                given = tagged(self._applicators, given, schema.get("discriminator"))
            parts = self._list(given, f"{path}.{key}", depth, may_be_empty=False)
            result[key] = [*result.get(key, ()), *parts]

    def _reference(self, pointer: Any, path: str) -> str:
        if not isinstance(pointer, str):
            raise SchemaError(path, f"it must be a string, not {_kind(pointer)}")
        self.target(pointer, path)
        name = self.names.get(pointer)
        if name is None:
            name = self.names[pointer] = f"r{len(self.names)}"
            self.pending[pointer] = name
        return f"#/$defs/{name}"

    def _list(self, parts: Any, path: str, depth: int, *, may_be_empty: bool) -> list[dict[str, Any]]:
        if not isinstance(parts, list) or (not parts and not may_be_empty):
            raise SchemaError(path, "it must be a list of schemas" + ("" if may_be_empty else " with at least one"))
        return [self.rewrite(part, f"{path}[{i}]", depth + 1) for i, part in enumerate(parts)]

    def _map(self, schema: Mapping[str, Any], key: str, path: str, depth: int) -> dict[str, Any] | None:
        parts = schema.get(key)
        if parts is None:
            return None
        if not isinstance(parts, Mapping):
            raise SchemaError(f"{path}.{key}", f"it must be an object, not {_kind(parts)}")
        return {name: self.rewrite(part, _member(f"{path}.{key}", name), depth + 1) for name, part in parts.items()}


def _sets(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return itertools.islice(itertools.combinations(names, size), MAX_PROPERTY_SETS)


def _count_values(schema: Any) -> int | None:
    """The number of values that `schema` lists, None if it does not list them."""
    if not isinstance(schema, Mapping):
        return 0 if schema is False else None
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(listed, list):
        return len(listed)
    return {"boolean": 2, "null": 1}.get(str(schema.get("type")))


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = schema.get("type")
    plain = not schema.keys() & {"enum", "const", *_COMBINING}
    if plain and kinds is None:
        return schema
    if plain:
        listed = kinds if isinstance(kinds, list) else [kinds]
        return {**schema, "type": [*listed, *(() if "null" in listed else ("null",))]}
    return {"anyOf": [schema, {"type": "null"}]}


def _every_object(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield value
        waiting.extend(_children(value))


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if name.replace("_", "").isalnum() and name.isascii() else f"{path}[{json.dumps(name)}]"


def _path_of(pointer: str) -> str:
    words = [unquote(word).replace("~1", "/").replace("~0", "~") for word in pointer.removeprefix("#").split("/")[1:]]
    path = "$"
    for word in words:
        path = f"{path}[{word}]" if word.isdigit() else _member(path, word)
    return path


def _quote(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case Mapping():
            return "an object"
    return type(value).__name__
