"""Unknown fields of request bodies: a misspelled one is an error, the others are reported as ignored."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw

from mlxk_core.api.errors import InvalidOption, Kind

_LOGGER = logging.getLogger("mlxk.requests")
_ALIKE = 0.85
_LARGEST = 256 << 10
"""Bytes of a body that is searched for all its unknown fields; in a larger one only the first is found."""
_LONGEST_NAME = 64
"""Characters of a name that are looked at and reported."""
_NAMED = 20
"""Ignored fields that are reported at most."""
_COMPARED = 50
"""Unknown fields that are compared with the known ones: each takes 0.3 ms, and a body has room for 10,000."""
_UNKNOWN = re.compile(r"contains unknown field `(?P<name>.*)`")
_PLAIN_NAME = re.compile(r"[\w-]+", re.ASCII)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Names of other APIs for what a field here does. Ignoring one would change the response without a word.
_MEANT: Mapping[str, tuple[str, ...]] = {
    "max_new_tokens": ("max_tokens", "max_output_tokens", "num_predict"),
    "max_output_tokens": ("max_tokens", "num_predict"),
    "max_completion_tokens": ("max_output_tokens", "max_tokens", "num_predict"),
    "max_tokens": ("max_output_tokens", "num_predict"),
    "repetition_penalty": ("repeat_penalty",),
    "n_predict": ("max_tokens", "max_output_tokens"),
    "num_predict": ("max_tokens", "max_output_tokens"),
    "stop_sequences": ("stop",),
    "stop": ("stop_sequences",),
    "functions_call": ("tool_choice",),
    "messages": ("input",),
    "reasoning_effort": ("reasoning.effort", "output_config.effort"),
    "response_format": ("text.format", "output_config.format", "format"),
}

ignored_fields: ContextVar[tuple[str, ...]] = ContextVar("ignored_fields", default=())
"""The fields of the current request that were skipped, for the server's `x-ignored-fields` header."""


class UnknownField(InvalidOption):
    """A field that the API does not have and that looks like one it has."""

    kind = Kind("unknown_parameter", 2, 400)


def check_fields(body: bytes, known: Collection[str], *, path: str = "") -> None:
    """Look for top-level fields of a JSON object that are not in `known`.

    Raises `UnknownField` for a misspelled one that is not null. The others are logged and added to `ignored_fields`.
    `path` is where the object is in the request.
    """
    prefix = f"{path}." if path else ""
    unknown = _unknown(body, frozenset(known))
    for name, value in unknown.items():
        if value != _NULL and (meant := _suggestion(name, known)):
            raise UnknownField(f"{prefix}{name}", f"unknown field. Did you mean `{meant}`?")
    report_ignored(f"{prefix}{name}" for name in unknown)


def report_ignored(fields: Iterable[str]) -> None:
    """Log the paths of fields that have no effect on the current request, and add them to `ignored_fields`."""
    named = tuple(fields)[:_NAMED]
    if named:
        ignored_fields.set((*ignored_fields.get(), *named)[:_NAMED])
        _LOGGER.info("ignored fields of a request: %s", ", ".join(named))


def _unknown(body: bytes, known: frozenset[str]) -> dict[str, bytes]:
    """Return the first unknown fields with their values as JSON; of a large body only one."""
    try:
        first = _first_unknown(body, known)
        if first is None:
            return {}
        if len(body) > _LARGEST:
            return {first: _value(body, first)}
        fields = ((name, bytes(value)) for name, value in _OBJECT.decode(body).items() if name not in known)
        return {name[:_LONGEST_NAME]: value for name, value in islice(fields, _COMPARED)}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}  # reported by whoever decodes the body


def _first_unknown(body: bytes, known: frozenset[str]) -> str | None:
    try:
        _strict(known).decode(body)
    except msgspec.ValidationError as error:
        if found := _UNKNOWN.search(str(error)):
            return found["name"][:_LONGEST_NAME]
    return None


_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NULL = b"null"


def _value(body: bytes, name: str) -> bytes:
    """Return the value of one field; nothing else is built."""
    if not _PLAIN_NAME.fullmatch(name):  # msgspec has no fields whose names need escapes
        return b""
    fields: list[Any] = [("value", Raw, Raw())]
    found: Any = msgspec.json.decode(body, type=msgspec.defstruct("OneField", fields, rename={"value": name}))
    return bytes(found.value)


@lru_cache(maxsize=64)
def _strict(known: frozenset[str]) -> msgspec.json.Decoder[Any]:
    """Return a decoder that builds no field and rejects unknown ones."""
    fields: list[Any] = [(f"f{i}", Raw, Raw()) for i in range(len(known))]
    names = {f"f{i}": name for i, name in enumerate(sorted(known))}
    return msgspec.json.Decoder(msgspec.defstruct("Known", fields, rename=names.get, forbid_unknown_fields=True))


def _suggestion(name: str, known: Collection[str]) -> str | None:
    """Return the known field that `name` is a misspelling or another API's name of; None if there is none."""
    for meant in _MEANT.get(name, ()):
        if meant.partition(".")[0] in known:
            return meant
    plain = _CAMEL.sub("_", name).replace("-", "_").lower()
    return next(iter(get_close_matches(plain, known, n=1, cutoff=_ALIKE)), None)
