"""Request bodies decoded into msgspec structs, with errors that name the field in the words of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from mlxk_core.api.errors import InvalidOption, Kind, UsageError
from mlxk_core.api.text import shorten_middle
from mlxk_protocol.decoders import decoder_of
from mlxk_protocol.fields import check_fields
from mlxk_protocol.words import allowed_words, in_json_words

_T = TypeVar("_T")
BOM = b"\xef\xbb\xbf"
"""The mark that some programs put before UTF-8 text."""
_BEFORE_PATH = " - at "
_PATH = re.compile(r"(?:`key` in )?`\$\.?(?P<path>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>\w+)`")
_ENUM = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_LONGEST_PROBLEM = 2000
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LARGEST_BROKEN_BODY = 64 << 10
"""Bytes of a body that is not JSON and still looked at, to name the field that holds NaN or 1e400."""


class InvalidJson(UsageError):
    """A request body that is not a JSON object."""

    kind = Kind("invalid_json", 2, 400)


def decode(body: bytes, kind: type[_T]) -> _T:
    """Return `body`, a JSON object, as a `kind`.

    Unknown fields are skipped without being built; one that looks like a known field raises `UnknownField`. `5.0` is a
    whole number, as JavaScript writes it. Raises `InvalidJson`, and `InvalidOption` whose `option` is the path of the
    field at fault (`input[0].content`).
    """
    body = body.removeprefix(BOM)
    names = _names(kind)
    try:
        if names:
            check_fields(body, names)
    except _UNREADABLE as error:
        raise json_error(body, error, kind) from None

    def fields() -> Mapping[str, msgspec.Raw]:
        values = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return {name: values[name] for name in names if name in values}

    return decode_typed(body, decoder_of(kind), fields)


def decode_typed(
    body: bytes, decoder: msgspec.json.Decoder[_T], fields: Callable[[], Mapping[str, bytes | msgspec.Raw]]
) -> _T:
    """Return `body` as the decoder's type, with errors like those of `decode`.

    `fields` returns the known fields of `body`, each as JSON: they are read once more if one may have `5.0` for `5`.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise field_error(error, decoder.type) from None
    except _UNREADABLE as error:
        raise json_error(body, error, decoder.type) from None
    try:
        whole = {name: _whole_numbers(msgspec.json.decode(value)) for name, value in fields().items()}
        return decoder.decode(msgspec.json.encode(whole))
    except msgspec.ValidationError as error:
        raise field_error(error, decoder.type) from None
    except _UNREADABLE as error:
        raise json_error(body, error, decoder.type) from None


def convert(value: Any, kind: type[_T], *, path: str = "") -> _T:
    """Return a decoded JSON value as a `kind`. `path` is where it comes from, for errors."""
    decoder_of(kind)  # it has been used once from here on
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise field_error(error, kind, path) from None


def _whole_numbers(value: Any) -> Any:
    """Return a decoded JSON value with `5` for each `5.0`."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**63:
            return int(value)
        case dict():
            return {name: _whole_numbers(item) for name, item in value.items()}
        case list():
            return [_whole_numbers(item) for item in value]
    return value


def field_error(error: msgspec.ValidationError, kind: Any, path: str = "") -> UsageError:
    """Return the error for a value that is no `kind`; `path` is where the value comes from."""
    # The problem may quote the client's value, with anything in it.
    problem, _, place = str(error).rpartition(_BEFORE_PATH)
    at = _PATH.fullmatch(place)
    inner = at["path"].removesuffix("[...]") if at else ""
    problem = shorten_middle(problem if at else str(error), _LONGEST_PROBLEM)
    joined = _join(path, inner)
    if missing := _MISSING.search(problem):
        return required(_join(joined, missing["field"]))
    if not joined:
        return InvalidJson("The body must be a JSON object.")
    if word := _ENUM.match(problem):
        allowed = allowed_words(kind, inner)
        return InvalidOption(joined, f"`{word['value'][1:-1]}` is unknown{f'; use {allowed}' if allowed else ''}")
    return InvalidOption(joined, in_json_words(problem))


def required(path: str) -> InvalidOption:
    """Return the error for a field that is absent."""
    hint = "; `GET /v1/models` lists the available models" if path == "model" else ""
    return InvalidOption(path, f"required{hint}")


def json_error(body: bytes, error: Exception, kind: Any) -> UsageError:
    """Return the error for a body that is not JSON; where a number is the reason, it names the field."""
    if isinstance(error, msgspec.ValidationError):
        return InvalidJson("The body must be a JSON object.")
    reason = _reason(body, error)
    if body.strip() and not isinstance(error, RecursionError) and len(body) <= _LARGEST_BROKEN_BODY:
        try:
            value = json.loads(body)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # msgspec takes it for a text that was cut off
            reason = "an escape in it is half a character (a surrogate without its other half)"
        except (ValueError, RecursionError):
            pass
        else:
            for name, number in value.items() if isinstance(value, dict) else ():
                if isinstance(number, float) and not math.isfinite(number) and name in _names(kind):
                    return InvalidOption(name, "expected a finite number")
    return InvalidJson(f"The body is not JSON: {reason}.")


def _reason(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "it is empty"
    match error:
        case RecursionError():
            return "it is nested too deeply"
        case UnicodeDecodeError(reason=reason):
            return f"it is not UTF-8 text ({reason})"
    return str(error).removeprefix("JSON is malformed: ")


def _names(kind: Any) -> tuple[str, ...]:
    return kind.__struct_encode_fields__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def _join(path: str, inner: str) -> str:
    return f"{path}.{inner}" if path and inner and not inner.startswith("[") else path + inner
