"""Random JSON schemas, from a seed, and what validates values of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import regex

PATTERNS = (
    r"^[a-z]{2,5}$", r"\d{3}-\d{4}", r"^(?:GET|POST) /\w*$", r"^\p{Lu}\p{L}*$",
    r"^(?<year>\d{4})-(?<month>0[1-9]|1[0-2])$",
    r"^(?=.*\d)[a-z0-9]{4,8}$", r"^(?!x)[x-z]{2}$", r"[^\W_]+", r"^$|^ab+c?$", r"\u00e9|[\u{1F600}-\u{1F64F}]",
)  # fmt: skip
FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "uri", "hostname", "duration", "made-up")
KEYS = ("name", "größe", "a b", "ключ", "x-y", "$id2", "日本", 'quo"te', "back\\slash", "")


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """ECMA-262 patterns for jsonschema, which uses Python's re."""
    python = regex.sub(r"\\u\{([0-9A-Fa-f]+)\}", lambda code: chr(int(code[1], 16)), pattern)
    python = regex.sub(r"\(\?<(\w+)>", r"(?P<\1>", python)
    if isinstance(instance, str) and not regex.search(python, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def validator_of(schema: dict[str, Any]) -> Any:
    """Return the validator of `schema`, in the draft that it names or the newest one."""
    draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    return jsonschema.validators.extend(draft, {"pattern": _pattern})(schema)


class Schemas:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def root(self) -> dict[str, Any]:
        """A schema whose root is an object, with definitions that refer to each other."""
        rng = self.random
        schema = self.object(3)
        if rng.random() < 0.4:
            schema["$defs"] = {"leaf": self.any(1), "node": self.object(1)}
            schema["$defs"]["node"]["properties"]["child"] = {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]}
            schema["properties"]["ref"] = {"$ref": "#/$defs/node", "description": "a node"}
            schema.setdefault("required", []).append("ref")
        return schema

    def any(self, depth: int) -> dict[str, Any]:
        kinds = [self.string, self.number, self.integer, self.enum, self.const, self.boolean]
        if depth > 0:
            kinds += [self.object, self.object, self.array, self.any_of, self.mapping]
        return self.random.choice(kinds)(depth)

    def object(self, depth: int) -> dict[str, Any]:
        rng = self.random
        names = rng.sample(KEYS, rng.randint(1, 4))
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.any(depth - 1) for name in names},
            "required": [name for name in names if rng.random() < 0.6],
        }
        extra = rng.random()
        if extra < 0.4:
            schema["additionalProperties"] = False
        elif extra < 0.5:
            schema["additionalProperties"] = {"type": "integer"}
        return schema

    def mapping(self, depth: int) -> dict[str, Any]:
        values = self.any(depth - 1)
        if self.random.random() < 0.5:
            return {"type": "object", "additionalProperties": values, "maxProperties": 3}
        return {"type": "object", "patternProperties": {"^k_[a-z]+$": values}, "additionalProperties": False}

    def array(self, depth: int) -> dict[str, Any]:
        rng = self.random
        if rng.random() < 0.3:
            return {"type": "array", "prefixItems": [self.any(depth - 1), self.any(0)], "items": False, "minItems": 2}
        least = rng.randint(0, 2)
        return {"type": "array", "items": self.any(depth - 1), "minItems": least, "maxItems": least + rng.randint(0, 2)}

    def any_of(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self.any(depth - 1) for _ in range(self.random.randint(1, 3))]}

    def string(self, depth: int) -> dict[str, Any]:
        rng = self.random
        match rng.randint(0, 3):
            case 0:
                return {"type": "string", "pattern": rng.choice(PATTERNS)}
            case 1:
                return {"type": "string", "format": rng.choice(FORMATS)}
            case 2:
                least = rng.randint(0, 5)
                return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 8)}
        return {"type": ["string", "null"], "maxLength": 6}

    def number(self, depth: int) -> dict[str, Any]:
        rng = self.random
        low = round(rng.uniform(-100, 100), rng.randint(0, 2))
        schema: dict[str, Any] = {
            "type": "number",
            "minimum": low,
            "exclusiveMaximum": low + rng.choice([1, 0.5, 1000]),
        }
        if rng.random() < 0.2:
            return {"type": "number", "minimum": 0}
        return schema

    def integer(self, depth: int) -> dict[str, Any]:
        rng = self.random
        low = rng.randint(-1000, 1000)
        match rng.randint(0, 2):
            case 0:
                return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 300)}
            case 1:
                return {"type": "integer", "multipleOf": rng.choice([2, 3, 5, 7])}
        return {"type": "integer"}

    def enum(self, depth: int) -> dict[str, Any]:
        values = ["red", "gr\u00fcn", 1, 2.5, None, True, [1, 2], {"a": "b"}, 'q"', "new\nline"]
        return {"enum": self.random.sample(values, self.random.randint(1, 5))}

    def const(self, depth: int) -> dict[str, Any]:
        return {"const": self.random.choice(["on", 0, False, None, {"k": [1]}, "\u2028"])}

    def boolean(self, depth: int) -> dict[str, Any]:
        return {"type": "boolean"}


class Keywords(Schemas):
    """Schemas with the keywords that no grammar has: they are rewritten, or kept beside the grammar."""

    def any(self, depth: int) -> dict[str, Any]:
        if depth > 0 and self.random.random() < 0.6:
            kinds = [self.distinct, self.excluding, self.conditional, self.one_of, self.containing, self.dependent]
            return self.random.choice(kinds)(depth)
        return super().any(depth)

    def distinct(self, depth: int) -> dict[str, Any]:
        rng = self.random
        values = rng.choice(
            [{"type": "string", "maxLength": 4}, {"type": "integer"}, {"type": "boolean"}, {"enum": [1, "a", None]}]
        )
        return {"type": "array", "items": values, "uniqueItems": True, "minItems": rng.randint(0, 2)}

    def excluding(self, depth: int) -> dict[str, Any]:
        rng = self.random
        words = rng.sample(["", "a", "ab", "red", "größe", 'q"'], rng.randint(1, 3))
        return rng.choice(
            [
                {"type": "string", "maxLength": 5, "not": {"enum": words}},
                {"type": "integer", "minimum": -3, "maximum": 9, "not": {"const": rng.randint(-3, 9)}},
                {"type": ["string", "null", "boolean"], "not": {"type": "string"}},
                {**self.object(depth - 1), "not": {"required": [rng.choice(KEYS), rng.choice(KEYS)]}},
            ]
        )

    def conditional(self, depth: int) -> dict[str, Any]:
        schema = self.object(depth - 1)
        name = next(iter(schema["properties"]))
        then, other = self.any(0), self.any(0)
        return {
            "type": "object",
            "properties": {"kind": {"enum": ["a", "b"]}, name: True},
            "required": ["kind"],
            "if": {"properties": {"kind": {"const": "a"}}},
            "then": {"properties": {name: then}, "required": [name]},
            "else": {"properties": {name: other}},
        }

    def one_of(self, depth: int) -> dict[str, Any]:
        low = self.random.randint(0, 9)
        return self.random.choice(
            [
                {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2, "maxLength": 5}]},
                {"oneOf": [{"type": "integer", "minimum": low}, {"type": "integer", "maximum": low + 5}]},
                {"oneOf": [self.object(0), {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}]},
            ]
        )

    def containing(self, depth: int) -> dict[str, Any]:
        rng = self.random
        least = rng.randint(0, 2)
        schema = {"type": "array", "items": {"enum": [1, 2, 3]}, "contains": {"const": 2}, "minContains": least}
        return {**schema, "maxItems": 5} if rng.random() < 0.5 else {**schema, "maxContains": least + 1, "maxItems": 5}

    def dependent(self, depth: int) -> dict[str, Any]:
        schema = self.object(depth - 1)
        schema.pop("additionalProperties", None)
        names = [*schema["properties"], "extra"]
        keyword = self.random.choice(["dependentRequired", "dependentSchemas"])
        needed: Any = [names[-1]] if keyword == "dependentRequired" else {"required": [names[-1]]}
        return {**schema, keyword: {names[0]: needed}}
