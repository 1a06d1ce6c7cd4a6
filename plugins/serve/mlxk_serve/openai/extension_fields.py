"""Request fields of extensions: what a plugin adds to the bodies of OpenAI's completion routes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import msgspec
from msgspec import Raw

from mlxk_core.api.generation import GenerationRequest
from mlxk_core.api.server import FieldHandler
from mlxk_protocol.decode import BOM
from mlxk_serve.openai.body_decoding import decode_skipped, known_fields


class ExtensionFields:
    """The fields of all extensions of one server."""

    def __init__(self) -> None:
        self._handlers: dict[str, FieldHandler] = {}

    def check(self, name: str, others: Mapping[str, object]) -> None:
        """Raise `ValueError` if `name` is a field of OpenAI's requests or of an extension."""
        if name in known_fields() or name in self._handlers or name in others:
            raise ValueError(f"the request field {name} is taken")

    def add(self, handlers: Mapping[str, FieldHandler]) -> None:
        """Add the fields of one extension."""
        self._handlers |= handlers

    @property
    def names(self) -> Collection[str]:
        """The fields that extensions have claimed."""
        return self._handlers.keys()

    def apply(self, body: bytes, requests: Sequence[GenerationRequest]) -> Sequence[GenerationRequest]:
        """Return `requests` as the handlers of the fields in `body`, a JSON object, change them."""
        if not self._handlers:
            return requests
        given = msgspec.json.decode(body.removeprefix(BOM), type=dict[str, Raw])
        for name, handler in self._handlers.items():
            if name in given and bytes(given[name]) != b"null":
                value = decode_skipped(bytes(given[name]))
                prompts = {id(request.prompt): request.prompt for request in requests}
                requests = [handler(request, value) for request in requests]
                # Choices share a prompt, which is rendered once: a handler that makes equal ones makes one.
                requests = _share_prompt(requests, len(prompts))
        return requests


def _share_prompt(requests: list[GenerationRequest], prompts: int) -> list[GenerationRequest]:
    if prompts != 1 or any(request.prompt != requests[0].prompt for request in requests):
        return requests
    return [replace(request, prompt=requests[0].prompt) for request in requests]
