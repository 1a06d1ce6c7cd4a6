"""The tools of a request, and what `strict` holds their calls to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlxk_core.api import Tool
from mlxk_serve.errors import invalid
from mlxk_serve.schema import Function, ToolIn


def tools_of(tools: Sequence[ToolIn]) -> tuple[Tool, ...]:
    """What the model may call. Raises an `ApiError` that names a strict tool's schema if it cannot be held to."""
    return tuple(_tool(tool.function, f"tools[{i}].function.parameters") for i, tool in enumerate(tools))


def _tool(function: Function, at: str) -> Tool:
    parameters = function.parameters or {}
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=parameters,
        accepts=_fits(parameters, at) if function.strict else None,
    )


def _fits(schema: Mapping[str, Any], at: str) -> Callable[[str], bool]:
    """Whether arguments are a JSON object that `schema` allows. Nothing is fetched for a reference."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    kind = validator_for(schema, default=Draft202012Validator)
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry()
    resolver = registry.resolver_with_root(root)
    try:
        kind.check_schema(schema)
        for reference in _references(schema):
            resolver.lookup(reference)
    except SchemaError as error:
        raise invalid(f"`{at}` is no JSON schema: {error.message}.", at) from None
    except (Unresolvable, ValueError):
        raise invalid(f"`{at}` refers to {json.dumps(reference)}, which is not in it.", at) from None
    except RecursionError:
        raise invalid(f"`{at}` is nested too deep.", at) from None
    validator = kind(schema, registry=registry)

    def accepts(arguments: str) -> bool:
        try:
            value = json.loads(arguments)
            return isinstance(value, dict) and validator.is_valid(value)
        except (ValueError, RecursionError, Unresolvable):
            return False

    return accepts


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
