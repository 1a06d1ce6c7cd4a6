"""Grammars of a call's arguments where they are written one by one: tags around raw text, or keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Matches, OneOf, Part, RawString, Tool, optional, sequence
from mlxk_mlx.formats.argument_types import definitions_of, standing_alone, types_of

_EMPTY = sequence()
_MOST_SEPARATED = 128
"""Arguments between which something stands: the grammar has each one after each other one."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One property of a tool's parameters. `schema` stands alone: if it refers to anything, it carries the definitions
    of the tool."""

    name: str
    schema: Mapping[str, Any]
    required: bool


def arguments_of(tool: Tool) -> list[Argument]:
    """Return the arguments of `tool` in the order of its schema."""
    parameters = tool.parameters
    properties = parameters.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = parameters.get("required")
    required = set(required) if isinstance(required, list) else set()
    definitions = definitions_of(parameters)
    return [
        Argument(name, standing_alone(schema, definitions), name in required) for name, schema in properties.items()
    ]


def each(tool: Tool, write: Callable[[Argument], Part]) -> Part:
    """Return the arguments of `tool` one after the other; those not required may be left out."""
    parts = ((argument, write(argument)) for argument in arguments_of(tool))
    return sequence(*(part if argument.required else optional(part) for argument, part in parts))


def separate(tool: Tool, write: Callable[[Argument], Part], separator: str) -> Part:
    """Return the arguments of `tool` with `separator` between those that are written.

    Raises `InvalidOption` for too many.
    """
    arguments = arguments_of(tool)
    if len(arguments) > _MOST_SEPARATED:
        raise InvalidOption("tools", f"{tool.name} has {len(arguments):,} arguments (at most {_MOST_SEPARATED})")
    written = [write(argument) for argument in arguments]
    following = [sequence(separator, part) for part in written]
    following = [
        part if argument.required else optional(part) for argument, part in zip(arguments, following, strict=True)
    ]
    firsts: list[Part] = []
    for i, argument in enumerate(arguments):
        firsts.append(sequence(written[i], *following[i + 1 :]))
        if argument.required:
            return OneOf(tuple(firsts))
    return OneOf((*firsts, _EMPTY))


def raw_value(
    argument: Argument, end: str, lenient: bool, *, edges: tuple[str, str] = ("", ""), without: tuple[str, ...] = ()
) -> Part:
    """Return an argument's value as a tag encloses it: strings as they are, everything else as JSON.

    `end` closes the tag, `edges` are written at the ends of every value. A string contains none of `without`.
    """
    before, after = edges
    value: Part = Matches("json_schema", argument.schema, lenient)
    if types_of(argument.schema) == {"string"}:
        value = RawString(argument.schema, (end.strip(), *without), lenient)
    return sequence(before, value, after + end)
