"""A server extension: `POST /headline` asks a model for a title, `GET /headline` is a page, and both are counted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mlxk_core.api import ServerExtensionSpec, hookimpl
from mlxk_core.api.errors import InvalidOption
from mlxk_core.api.generation import Delta, GenerationRequest, Message
from mlxk_core.api.server import ApiError, Cancellation, ErrorInfo, ServerContext

__version__ = "0.1.0"

_PAGE = b"<!doctype html><title>Headlines</title><p>POST a model and a text to this address."


# --8<-- [start:extend]
@hookimpl
def mlxk_server_extensions() -> Iterable[ServerExtensionSpec]:
    yield ServerExtensionSpec(name="headline", summary="POST /headline.", target="mlxk_headline:extend")


def extend(server: ServerContext) -> None:
    """Called once. All of it takes effect together; if anything here raises, nothing does."""
    server.add_route("/headline", Headline(server), errors=error_body)
    server.add_route("/headline/page", Page(), authenticated=False)  # a static page needs no key
    server.add_middleware(Stamp())
    server.add_request_field("tone", tone)  # {"model": …, "messages": …, "tone": "dry"}


# --8<-- [end:extend]


# --8<-- [start:field]
def tone(request: GenerationRequest, value: object) -> GenerationRequest:
    """Apply the field `tone` of a chat request."""
    if not isinstance(value, str) or not value:
        raise InvalidOption("tone", "must be a string")
    if isinstance(request.prompt, str):
        return request
    wish = Message(role="system", content=f"Answer in a {value} tone.")
    return replace(request, prompt=[wish, *request.prompt])


# --8<-- [end:field]


# --8<-- [start:resource]
class Headline:
    """A Falcon resource."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._asked = server.metrics.counter("headlines_total", "Headlines asked for.", labels=("model",))

    def on_post(self, req: Any, resp: Any) -> None:
        body = req.get_media()
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            raise ApiError(400, "text must be a string.", param="text")
        model = self._server.models.get(str(body.get("model", "")))  # raises ModelNotFound: a 404
        self._asked.add(model=model.name)
        request = GenerationRequest(
            model=model,
            prompt=[Message(role="user", content=f"A headline for this text:\n\n{body['text']}")],
            max_tokens=30,
            client=self._server.client(req).id,
        )

        def work(cancellation: Cancellation) -> Iterator[bytes]:
            with self._server.service.submit(request) as generation:
                cancellation.on_cancel(generation.cancel)  # the client left: the row is free within a step
                words = [event.text for event in generation if isinstance(event, Delta)]
            yield json.dumps({"headline": "".join(words).strip()}).encode()

        self._server.run(req, resp, work, content_type="application/json", stream=False)


# --8<-- [end:resource]


class Page:
    """A static page."""

    def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = "text/html"
        resp.data = _PAGE


class Stamp:
    """Middleware around every request."""

    def process_response(self, req: Any, resp: Any, resource: object, succeeded: bool) -> None:
        resp.set_header("x-headlines", "yes")


def error_body(error: ErrorInfo) -> bytes:
    """Return an error in the words of this API."""
    return json.dumps({"problem": error.message, "field": error.param}).encode()
