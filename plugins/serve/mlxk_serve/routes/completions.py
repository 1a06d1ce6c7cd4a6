"""`/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from dataclasses import replace

import falcon

from mlxk_serve.catalog import Catalog
from mlxk_serve.config import ServeConfig
from mlxk_serve.http.errors import invalid
from mlxk_serve.http.responder import Responder
from mlxk_serve.openai.body_decoding import decode
from mlxk_serve.openai.completion_call import CompletionCall, chat_call, text_call
from mlxk_serve.openai.extension_fields import ExtensionFields
from mlxk_serve.openai.requests import ChatRequest, CommonRequest, TextRequest
from mlxk_serve.routes.requested_model import requested_model


class _Completions:
    """A resource that generates."""

    def __init__(self, catalog: Catalog, responder: Responder, config: ServeConfig, fields: ExtensionFields) -> None:
        self._catalog = catalog
        self._responder = responder
        self._config = config
        self._fields = fields

    def _respond(
        self, req: falcon.Request, resp: falcon.Response, request: CommonRequest, call: CompletionCall
    ) -> None:
        choices, places = len(call.requests), self._config.places
        if choices > places:  # a full queue would reject it forever
            field = "n" if choices == request.n else "prompt"
            raise invalid(f"`{field}`: {choices} choices are more than the {places} that one client may have.", field)
        stream = bool(request.stream)
        self._responder.respond(req, resp, call.requests, call.encoder, stream=stream, map_error=call.map_error)


class ChatCompletions(_Completions):
    """`POST /v1/chat/completions`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = req.bounded_stream.read()
        request = decode(body, ChatRequest, also=self._fields.names)
        name, model = requested_model(self._catalog, req, request.model)
        call = chat_call(
            request,
            name,
            model,
            max_tokens=self._config.max_tokens,
            hide_reasoning=self._config.hide_reasoning,
        )
        call = replace(call, requests=self._fields.apply(body, call.requests))
        self._respond(req, resp, request, call)


class Completions(_Completions):
    """`POST /v1/completions`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        body = req.bounded_stream.read()
        request = decode(body, TextRequest, also=self._fields.names)
        name, model = requested_model(self._catalog, req, request.model)
        call = text_call(request, name, model)
        call = replace(call, requests=self._fields.apply(body, call.requests))
        self._respond(req, resp, request, call)
