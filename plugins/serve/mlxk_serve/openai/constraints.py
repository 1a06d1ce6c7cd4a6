"""The constraint of a request, which its answer must match: one from the fields of OpenAI, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlxk_core.api.generation import Constraint, check_schema_text
from mlxk_protocol.untyped import string
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.requests import CommonRequest

_OUTPUTS = {
    "json": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "grammar": "grammar",
    "json_object": "json_object",
}
"""The keys of vLLM's `structured_outputs`, and the kind of constraint each is."""
_HARMLESS = ("disable_fallback", "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")


def constraint_of(request: CommonRequest) -> Constraint | None:
    """Return what the answer to `request` must match. Raises an `ApiError` that names the field at fault."""
    found = list(_constraints(request))
    if len(found) > 1:
        first, second = found[0].option, found[1].option
        raise invalid(f"`{second}` cannot be used with `{first}`: an answer has one constraint.", second)
    return found[0] if found else None


def _constraints(request: CommonRequest) -> Iterator[Constraint]:
    if request.response_format is not None:
        yield from _response_format(request.response_format)
    for name, value in (request.structured_outputs or {}).items():
        if value is None or name in _HARMLESS:
            continue
        if name not in _OUTPUTS:
            raise unsupported(f"structured_outputs.{name}", f"`structured_outputs.{name}` is not supported.")
        if value is not False:
            yield _constraint(_OUTPUTS[name], value, f"structured_outputs.{name}")
    for name in ("json", "regex", "choice", "grammar"):
        value = getattr(request, f"guided_{name}")
        if value is not None:
            yield _constraint(_OUTPUTS[name], value, f"guided_{name}")
    if request.json_schema is not None:
        yield _constraint("json_schema", request.json_schema, "json_schema")
    if request.grammar:
        yield _constraint("grammar", request.grammar, "grammar")


def _response_format(form: Mapping[str, Any]) -> Iterator[Constraint]:
    at = "response_format"
    match string(form, "type", at):
        case "text":
            return
        case "json_object":
            if form.get("schema") is not None:  # llama.cpp's form of a schema
                yield _constraint("json_schema", form["schema"], f"{at}.schema")
            else:
                yield Constraint(kind="json_object", value=True, option=at)
        case "json_schema":
            # Some clients put the schema beside `type`; the error names OpenAI's field.
            inner = form.get("json_schema", form)
            at = f"{at}.json_schema" if "json_schema" in form or "schema" not in form else at
            if not isinstance(inner, Mapping) or inner.get("schema") is None:
                raise invalid(f"`{at}.schema` is required.", f"{at}.schema")
            yield _constraint("json_schema", inner["schema"], f"{at}.schema")
        case other:
            raise unsupported(f"{at}.type", f"`{at}.type` must be text, json_object or json_schema, not {other!r}.")


def _constraint(kind: str, value: Any, option: str) -> Constraint:
    if kind == "json_schema" and isinstance(value, str):
        value = _parse(value, option)
    if kind == "grammar":
        kind = "gbnf" if isinstance(value, str) and "::=" in value else "lark"
    return Constraint(kind=kind, value=value, option=option)


def _parse(text: str, option: str) -> Any:
    import msgspec

    check_schema_text(text, option=option)  # the checks of the body leave out what is inside of strings
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise invalid(f"`{option}` is not JSON.", option) from None
