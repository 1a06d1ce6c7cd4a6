"""Decoding of request bodies: every error has the path of the field at fault."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from mlxk_protocol.decode import BOM, decode_typed, json_error
from mlxk_protocol.fields import check_fields
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.requests import ChatRequest, CommonRequest, TextRequest

_S = TypeVar("_S", bound=CommonRequest)

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
_FIELDS = frozenset({*ChatRequest.__struct_fields__, *TextRequest.__struct_fields__})


def known_fields() -> frozenset[str]:
    """Return the fields that the completion routes know, implemented or not."""
    unimplemented = (name for fields in _UNIMPLEMENTED.values() for name in fields)
    return _FIELDS | frozenset(unimplemented)


def decode(body: bytes, kind: type[_S], *, also: Collection[str] = ()) -> _S:
    """Return the request in `body`. Raises an `ApiError` or an `InvalidOption` that names the field at fault.

    `also` are the fields that others read.

    `null` is the same as absent, unknown fields are skipped without being built (a misspelled one is an
    error), and `5.0` is a whole number, as JavaScript writes it.
    """
    body = body.removeprefix(BOM)
    try:
        raw = _RAW[kind].decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_error(body, error, kind) from None
    _check_unimplemented(raw, kind)
    check_fields(body, _KNOWN[kind].union(also))
    for name in _FREE_FORM & set(kind.__struct_fields__):
        if len(getattr(raw, name)) > _LARGEST_VALUE:
            raise invalid(f"`{name}` is too large: at most {_LARGEST_VALUE >> 20} MiB.", name)

    def fields() -> Mapping[str, bytes]:
        values = {name: bytes(getattr(raw, name)) for name in kind.__struct_fields__}
        return {name: value for name, value in values.items() if value}

    return decode_typed(body, _TYPED[kind], fields)


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
        if len(value) > 256 or decode_skipped(value) not in harmless:
            raise unsupported(name, _only(name, harmless))


def decode_skipped(data: bytes) -> Any:
    """Return a value that was skipped before: only now the bytes of its texts are looked at. Raises `InvalidJson`."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_error(data, error, None) from None


def _only(name: str, values: tuple[Any, ...]) -> str:
    if not values:
        return f"`{name}` is not supported. Omit it."
    return f"`{name}`: only {' or '.join(json.dumps(value) for value in values)} is supported."
