"""The routes of the Messages API."""

from __future__ import annotations

from collections.abc import Iterable

import falcon

from mlxk_core.api.server import Cancellation, Operation, ServerContext
from mlxk_messages.encoder import MessagesEncoder
from mlxk_messages.errors import ErrorObject, encode_error
from mlxk_messages.generation import counted, generated, shows_thinking
from mlxk_messages.requests import CountRequest, MessageRequest
from mlxk_messages.response import MessageObject
from mlxk_protocol.decode import decode


def extend(server: ServerContext) -> None:
    """Add the routes to a server."""
    create = Operation(
        method="post",
        summary="Create a message.",
        request=MessageRequest,
        response=MessageObject,
        stream=MessagesEncoder.content_type,
        error=ErrorObject,
    )
    count = Operation(
        method="post",
        summary="Count the tokens of a prompt.",
        request=CountRequest,
        response=dict[str, int],
        error=ErrorObject,
    )
    server.add_route("/v1/messages", Messages(server), errors=encode_error, operations=[create])
    path = "/v1/messages/count_tokens"
    server.add_route(path, CountTokens(server), errors=encode_error, operations=[count])


class Messages:
    """`POST /v1/messages`."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), MessageRequest)
        generation = generated(request, self._server.models.get(request.model))
        hidden = self._server.settings.hide_reasoning
        encoder = MessagesEncoder(request.model, thinking=shows_thinking(request) and not hidden)
        self._server.respond(req, resp, [generation], encoder, stream=bool(request.stream))


class CountTokens:
    """`POST /v1/messages/count_tokens`. It loads the model, because the count needs its tokenizer."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), CountRequest)
        asked = counted(request, self._server.models.get(request.model))

        def count(cancellation: Cancellation) -> Iterable[bytes]:
            prompt = self._server.service.prompt(asked, waiting=cancellation.check)
            yield b'{"input_tokens": %d}' % len(prompt.tokens)

        self._server.run(req, resp, count, content_type=falcon.MEDIA_JSON, stream=False)
