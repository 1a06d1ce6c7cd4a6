"""What a request's answer must match: one constraint from the fields of OpenAI, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxk_core.api.generation import Constraint
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.requests import ChatRequest, CommonRequest, ToolIn

_OUTPUTS = {
    "json": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "grammar": "grammar",
    "json_object": "json_object",
}
"""The keys of vLLM's `structured_outputs`, and the kind of constraint each is."""
_HARMLESS = ("disable_fallback", "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools must be called, and which may be: none of the `names` means all."""

    none: bool = False
    required: bool = False
    one: bool = False
    names: tuple[str, ...] = ()


def constraint_of(request: CommonRequest) -> Constraint | None:
    """Return what the answer to `request` must match. Raises an `ApiError` that names the field at fault."""
    found = list(_constraints(request))
    if len(found) > 1:
        first, second = found[0].option, found[1].option
        raise invalid(f"`{second}` cannot be used with `{first}`: an answer has one constraint.", second)
    return found[0] if found else None


def tool_choice_of(request: ChatRequest) -> ToolChoice:
    """Return what `tool_choice` asks for. Raises an `ApiError` that names the part at fault."""
    choice = request.tool_choice
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice(none=True)
    if isinstance(choice, str):
        if choice not in ("required", "any"):
            raise invalid('`tool_choice` must be "none", "auto", "required" or an object.', "tool_choice")
        made = ToolChoice(required=True)
    elif choice.get("type") == "allowed_tools":
        made = _allowed(choice.get("allowed_tools", choice), request.tools or ())
    elif choice.get("type", "function") == "function":
        name = _name(choice, "tool_choice")
        _known(name, request.tools or (), "tool_choice.function.name")
        made = ToolChoice(required=True, one=True, names=(name,))
    else:
        raise unsupported("tool_choice.type", "`tool_choice.type` must be function or allowed_tools.")
    if made.required and not request.tools:
        raise invalid("`tool_choice` requires a call, and the request has no `tools`.", "tool_choice")
    return made


def thinking_budget_of(request: CommonRequest) -> int | None:
    """Return the number of reasoning tokens that `request` allows; None means no limit of its own."""
    budgets = {
        "thinking_token_budget": request.thinking_token_budget,
        "thinking_budget": request.thinking_budget,
        "reasoning_budget": request.reasoning_budget,
        "reasoning.max_tokens": request.reasoning.max_tokens if request.reasoning else None,
    }
    given = {name: value for name, value in budgets.items() if value is not None and value != -1}
    if len(set(given.values())) > 1:
        first, second, *_ = given
        raise invalid(f"`{first}` and `{second}` ask for different budgets.", second)
    return next(iter(given.values()), None)


def _constraints(request: CommonRequest) -> Iterator[Constraint]:
    if request.response_format is not None:
        yield from _response_format(request.response_format)
    for name, kind in _OUTPUTS.items():
        value = (request.structured_outputs or {}).get(name)
        if value is not None and value is not False:
            yield _made(kind, value, f"structured_outputs.{name}")
    for name in (request.structured_outputs or {}).keys() - {*_OUTPUTS, *_HARMLESS}:
        if (request.structured_outputs or {})[name] is not None:
            raise unsupported(f"structured_outputs.{name}", f"`structured_outputs.{name}` is not supported.")
    for name in ("json", "regex", "choice", "grammar"):
        value = getattr(request, f"guided_{name}")
        if value is not None:
            yield _made(_OUTPUTS[name], value, f"guided_{name}")
    if request.json_schema is not None:
        yield _made("json_schema", request.json_schema, "json_schema")
    if request.grammar:
        yield _made("grammar", request.grammar, "grammar")


def _response_format(form: Mapping[str, Any]) -> Iterator[Constraint]:
    at = "response_format"
    match form.get("type"):
        case "text":
            return
        case "json_object":
            if form.get("schema") is not None:  # llama.cpp's form of a schema
                yield _made("json_schema", form["schema"], f"{at}.schema")
            else:
                yield Constraint(kind="json_object", value=True, option=at)
        case "json_schema":
            # Some clients put the schema beside `type`; the error names OpenAI's field.
            inner = form.get("json_schema", form)
            at = f"{at}.json_schema" if "json_schema" in form or "schema" not in form else at
            if not isinstance(inner, Mapping) or inner.get("schema") is None:
                raise invalid(f"`{at}.schema` is required.", f"{at}.schema")
            yield _made("json_schema", inner["schema"], f"{at}.schema")
        case None:
            raise invalid(f"`{at}.type` is required.", f"{at}.type")
        case other:
            raise unsupported(f"{at}.type", f"`{at}.type` must be text, json_object or json_schema, not {other!r}.")


def _made(kind: str, value: Any, option: str) -> Constraint:
    if kind == "json_schema" and isinstance(value, str):
        value = _parsed(value, option)
    if kind == "grammar":
        kind = "gbnf" if isinstance(value, str) and "::=" in value else "lark"
    return Constraint(kind=kind, value=value, option=option)


def _parsed(text: str, option: str) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise invalid(f"`{option}` is not JSON.", option) from None


def _allowed(allowed: Any, tools: Sequence[ToolIn]) -> ToolChoice:
    at = "tool_choice.allowed_tools"
    if not isinstance(allowed, Mapping) or not isinstance(allowed.get("tools"), list) or not allowed["tools"]:
        raise invalid(f"`{at}.tools` must be a list of tools.", f"{at}.tools")
    if allowed.get("mode", "auto") not in ("auto", "required"):
        raise invalid(f'`{at}.mode` must be "auto" or "required".', f"{at}.mode")
    names = []
    for i, tool in enumerate(allowed["tools"]):
        names.append(_name(tool, f"{at}.tools[{i}]"))
        _known(names[-1], tools, f"{at}.tools[{i}]")
    return ToolChoice(required=allowed.get("mode") == "required", names=tuple(names))


def _name(choice: Any, at: str) -> str:
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise invalid(f"`{at}.function.name` is required.", f"{at}.function.name")
    return name


def _known(name: str, tools: Sequence[ToolIn], at: str) -> None:
    if name not in {tool.function.name for tool in tools}:
        raise invalid(f"`{at}`: the request has no tool {name!r}.", at)
