"""Random JSON schemas, from a seed."""

from __future__ import annotations

import random
from typing import Any

PATTERNS = (
    r"^[a-z]{2,5}$", r"\d{3}-\d{4}", r"^(?:GET|POST) /\w*$", r"^\p{Lu}\p{L}*$",
    r"^(?<year>\d{4})-(?<month>0[1-9]|1[0-2])$",
    r"^(?=.*\d)[a-z0-9]{4,8}$", r"^(?!x)[x-z]{2}$", r"[^\W_]+", r"^$|^ab+c?$", r"\u00e9|[\u{1F600}-\u{1F64F}]",
)  # fmt: skip
FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "uri", "hostname", "duration", "made-up")
KEYS = ("name", "größe", "a b", "ключ", "x-y", "$id2", "日本", 'quo"te', "back\\slash", "")


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
