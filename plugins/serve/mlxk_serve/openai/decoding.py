"""Decoding of request bodies: every error has the path of the field at fault."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct

from mlxk_core.api.server import ApiError
from mlxk_protocol.decode import BOM, field_fault, whole_numbers
from mlxk_protocol.fields import check_fields
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.requests import ChatRequest, CommonRequest, Effort, Role, TextRequest

_S = TypeVar("_S", bound=CommonRequest)
_T = TypeVar("_T", bound=Struct)

# Known fields of OpenAI's and other servers' requests that are not implemented, with the values that ask for nothing.
# Any other value is an error: a constraint must not be dropped silently. `...` accepts every value: a hint that cannot
# change the response. docs/reference/server.md lists them all.
_ANYWHERE: Mapping[str, tuple[Any, ...]] = {
    "adapter": (), "adapters": (), "add_generation_prompt": (True,), "add_special_tokens": (...,),
    "allowed_token_ids": (), "bad_words": ([],), "cache_prompt": (...,), "chat_template": (),
    "continue_final_message": (False,), "documents": ([],), "draft_model": (), "dry_multiplier": (0,),
    "include_stop_str_in_output": (False,), "length_penalty": (1,), "logits_processors": ([],), "lora": ([],),
    "metadata": (...,), "mirostat": (0,), "num_draft_tokens": (0,), "priority": (...,), "prompt_cache_key": (...,),
    "prompt_cache_retention": (...,), "role_mapping": (), "safety_identifier": (...,),
    "samplers": (), "service_tier": (...,), "skip_special_tokens": (True,), "spaces_between_special_tokens": (...,),
    "store": (...,), "truncate_prompt_tokens": (), "typical_p": (1,), "use_beam_search": (False,),
    "xtc_probability": (0,),
}  # fmt: skip
_CHAT: Mapping[str, tuple[Any, ...]] = {
    **_ANYWHERE, "audio": (), "best_of": (1,), "echo": (False,), "function_call": ("none", "auto"), "functions": ([],),
    "modalities": (["text"],), "mm_processor_kwargs": ({},), "prediction": (), "suffix": ("",), "verbosity": (...,),
    "web_search_options": ({},),
}  # fmt: skip
_TEXT: Mapping[str, tuple[Any, ...]] = {**_ANYWHERE, "best_of": (1,), "tools": ([],)}
_UNIMPLEMENTED: Mapping[type[Struct], Mapping[str, tuple[Any, ...]]] = {ChatRequest: _CHAT, TextRequest: _TEXT}

_LARGEST_VALUE = 2 << 20
"""Bytes of a field whose value may have any shape: building it takes a hundred times the memory."""
_FREE_FORM = frozenset(
    {"tools", "tool_choice", "response_format", "structured_outputs", "guided_json", "json_schema",
     "chat_template_kwargs", "thinking", "logit_bias"}
)  # fmt: skip
_LARGEST_BROKEN_BODY = 64 << 10
"""Bytes of a body that is not JSON and still looked at, to name the field that holds NaN or 1e400."""
_NUMBERS = frozenset({*ChatRequest.__struct_fields__, *TextRequest.__struct_fields__})
_UNKNOWN_WORD = "Invalid enum value "
_WORDS = {
    "role": get_args(Role),
    "reasoning_effort": get_args(Effort),
    "effort": get_args(Effort),
    "type": ("function",),
}


def known_fields() -> frozenset[str]:
    """Return the fields that the completion routes know, implemented or not."""
    unimplemented = (name for fields in _UNIMPLEMENTED.values() for name in fields)
    return _NUMBERS | frozenset(unimplemented)


def decode(body: bytes, kind: type[_S], *, also: Collection[str] = ()) -> _S:
    """Return the request in `body`. Raises an `ApiError` that names the field at fault.

    `also` are the fields that others read.

    `null` is the same as absent, unknown fields are skipped without being built (a misspelled one is an
    error), and `5.0` is a whole number, as JavaScript writes it.
    """
    body = body.removeprefix(BOM)
    try:
        raw = _RAW[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(body, error) from None
    _check_unimplemented(raw, kind)
    check_fields(body, _KNOWN[kind].union(also))
    for name in _FREE_FORM & set(kind.__struct_fields__):
        if len(getattr(raw, name)) > _LARGEST_VALUE:
            raise invalid(f"`{name}` is too large: at most {_LARGEST_VALUE >> 20} MiB.", name)
    try:
        return _TYPED[kind].decode(body)
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise _at_fault(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(body, error) from None
    fields = {name: bytes(getattr(raw, name)) for name in kind.__struct_fields__}
    whole = {name: whole_numbers(_value(value)) for name, value in fields.items() if value}
    try:
        return _TYPED[kind].decode(msgspec.json.encode(whole))
    except msgspec.ValidationError as error:
        raise _at_fault(error) from None


def decode_other(body: bytes, kind: type[_T]) -> _T:
    """Return a body that is not a generation request. Raises an `ApiError` that names the field at fault."""
    check_fields(body.removeprefix(BOM), kind.__struct_fields__)
    try:
        return msgspec.json.decode(body.removeprefix(BOM), type=kind)
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None
    except msgspec.ValidationError as error:
        raise _at_fault(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(body, error) from None


def _raw_decoder(kind: type[Struct]) -> msgspec.json.Decoder[Any]:
    """Return a decoder that finds the known fields and builds none of them."""
    names = dict.fromkeys([*kind.__struct_fields__, *_UNIMPLEMENTED[kind]])
    return msgspec.json.Decoder(msgspec.defstruct(f"Raw{kind.__name__}", [(name, Raw, Raw()) for name in names]))


_KNOWN = {kind: frozenset({*kind.__struct_fields__, *names}) for kind, names in _UNIMPLEMENTED.items()}
_RAW = {kind: _raw_decoder(kind) for kind in _UNIMPLEMENTED}
_TYPED: Mapping[type[Struct], msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in _UNIMPLEMENTED}


def _check_unimplemented(raw: Any, kind: type[Struct]) -> None:
    for name, harmless in _UNIMPLEMENTED[kind].items():
        value = bytes(getattr(raw, name))
        if not value or value == b"null" or harmless == (...,):
            continue
        if len(value) > 256 or _value(value) not in harmless:
            raise unsupported(name, _only(name, harmless))


def _value(data: bytes) -> Any:
    """Return a value that was skipped before: only now the bytes of its texts are looked at."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(data, error) from None


def _only(name: str, values: tuple[Any, ...]) -> str:
    if not values:
        return f"`{name}` is not supported. Omit it."
    return f"`{name}`: only {' or '.join(json.dumps(value) for value in values)} is supported."


def _not_json(body: bytes, error: Exception) -> ApiError:
    """Return the error for a body that is not JSON; where a number is the reason, it names the field."""
    if isinstance(error, msgspec.ValidationError):
        return ApiError(400, "The body must be a JSON object.", code="invalid_json")
    reason = str(error).removeprefix("JSON is malformed: ")
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    elif len(body) <= _LARGEST_BROKEN_BODY:
        try:
            value = json.loads(body)
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # msgspec takes it for a text that was cut off
            reason = "an escape in it is half a character (a surrogate without its other half)"
        except (ValueError, RecursionError):
            pass
        else:
            for name, number in value.items() if isinstance(value, dict) else ():
                if isinstance(number, float) and not math.isfinite(number) and name in _NUMBERS:
                    return invalid(f"`{name}` must be a finite number.", name)
    return ApiError(400, f"The body is not JSON: {reason}.", code="invalid_json")


def _at_fault(error: msgspec.ValidationError) -> ApiError:
    path, problem, is_missing = field_fault(error)
    if is_missing:
        return invalid(f"`{path}` is required.", path)
    words = _WORDS.get(path.rpartition(".")[2])
    if words and problem.startswith(_UNKNOWN_WORD):
        one = " or ".join(json.dumps(word) for word in words)
        return invalid(f"`{path}`: {problem.removeprefix(_UNKNOWN_WORD)} is not known; it must be {one}.", path)
    return invalid(f"`{path}`: {problem[:1].lower()}{problem[1:]}.", path or None)
