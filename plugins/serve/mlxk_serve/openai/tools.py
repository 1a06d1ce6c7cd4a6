"""The tools of a request, and what `strict` holds their calls to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlxk_core.api import Tool
from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import Function, ToolIn


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

    if not isinstance(schema.get("$schema", ""), str):
        raise invalid(f"`{at}.$schema` is no text.", f"{at}.$schema")
    kind = validator_for(schema, default=Draft202012Validator)
    registry: Registry[Any] = Registry()
    resolver = registry.resolver_with_root(Resource.from_contents(schema, default_specification=DRAFT202012))

    def resolves(reference: str) -> bool:
        try:
            resolver.lookup(reference)
        except (Unresolvable, ValueError):  # the second for what is no address at all
            return False
        return True

    try:
        kind.check_schema(schema)
        lost = next((reference for reference in _references(schema) if not resolves(reference)), None)
    except SchemaError as error:
        raise invalid(f"`{at}` is no JSON schema: {error.message}.", at) from None
    except RecursionError:
        raise invalid(f"`{at}` is nested too deep.", at) from None
    if lost is not None:
        raise invalid(f"`{at}` refers to {json.dumps(lost)}, which is not in it.", at)
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
