"""Request bodies decoded into msgspec structs, with errors that name the field."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeVar

import msgspec

from mlxk_core.api.errors import InvalidOption
from mlxk_protocol.fields import check_fields

_T = TypeVar("_T")
BOM = b"\xef\xbb\xbf"
"""The mark that some programs put before UTF-8 text."""
_AT = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>.*)`$")
_MISSING = re.compile(r"missing required field (?P<field>\w+)")


def decode(body: bytes, kind: type[_T]) -> _T:
    """Return `body`, a JSON object, as a `kind`.

    Unknown fields are skipped without being built; one that looks like a known field raises `UnknownField`. `5.0` is a
    whole number, as JavaScript writes it. Raises `InvalidOption` whose `option` is the path of the field at fault
    (`input[0].content`), or `body`.
    """
    body = body.removeprefix(BOM)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        check_fields(body, kind.__struct_encode_fields__)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise _field_error(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidOption("body", f"invalid JSON: {_reason(error)}") from None
    return convert(whole_numbers(msgspec.json.decode(body)), kind)


def convert(value: Any, kind: type[_T], *, path: str = "") -> _T:
    """Return a decoded JSON value as a `kind`. `path` is where it comes from, for errors."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _field_error(error, path) from None


def whole_numbers(value: Any) -> Any:
    """Return a decoded JSON value with `5` for each `5.0`."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**63:
            return int(value)
        case dict():
            return {name: whole_numbers(item) for name, item in value.items()}
        case list():
            return [whole_numbers(item) for item in value]
    return value


class FieldFault(NamedTuple):
    """What is wrong with a body: the path of a field (`""`: the body itself) and the problem in msgspec's words."""

    path: str
    problem: str
    is_missing: bool


def field_fault(error: msgspec.ValidationError, path: str = "") -> FieldFault:
    """Return the fault that `error` reports; `path` is where the decoded value comes from."""
    text = str(error)
    at = _AT.search(text)
    inner = at["path"].removesuffix("[...]") if at else ""
    problem = (text[: at.start()] if at else text).replace(" | null", "").replace("`", "")
    joined = _join(path, inner)
    if missing := _MISSING.search(problem):
        return FieldFault(_join(joined, missing["field"]), problem, True)
    return FieldFault(joined, problem, False)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).removeprefix("JSON is malformed: ")


def _field_error(error: msgspec.ValidationError, path: str = "") -> InvalidOption:
    fault = field_fault(error, path)
    problem = "required" if fault.is_missing else f"{fault.problem[:1].lower()}{fault.problem[1:]}"
    return InvalidOption(fault.path or "body", problem)


def _join(path: str, inner: str) -> str:
    return f"{path}.{inner}" if path and inner and not inner.startswith("[") else path + inner
