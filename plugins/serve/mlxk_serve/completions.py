"""`/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import falcon

from mlxk_core.generation.generation import Generation
from mlxk_core.generation.messages import GenerationRequest
from mlxk_core.models.model import Model
from mlxk_serve.catalog import fingerprint
from mlxk_serve.errors import invalid
from mlxk_serve.events import ChatWriter, Head, TextWriter, Writer
from mlxk_serve.ids import answer_id
from mlxk_serve.parts import Parts
from mlxk_serve.respond import stream, whole
from mlxk_serve.schema import ChatRequest, Sampled, TextRequest, decode
from mlxk_serve.translate import chat_requests, text_requests


class ChatCompletions:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        config = self._parts.config
        request = decode(req.bounded_stream.read(), ChatRequest)
        model = _model(self._parts, req, request)
        hidden = config.hide_reasoning or request.include_reasoning is False or request.reasoning_effort == "none"
        _answer(
            self._parts,
            req,
            resp,
            request,
            chat_requests(request, model, config.max_tokens),
            lambda generations: ChatWriter(
                _head("chatcmpl", request, model), hide_reasoning=hidden, logprobs=bool(request.logprobs)
            ),
        )


class Completions:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), TextRequest)
        model = _model(self._parts, req, request)
        _answer(
            self._parts,
            req,
            resp,
            request,
            text_requests(request, model),
            lambda generations: TextWriter(
                _head("cmpl", request, model),
                echo=(lambda index: generations[index].prompt_text or "") if request.echo else None,
                logprobs=request.logprobs,
            ),
        )


def _model(parts: Parts, req: falcon.Request, request: Sampled) -> Model:
    model = parts.catalog.get(request.model)
    req.context.access.model = request.model
    return model


def _head(prefix: str, request: Sampled, model: Model) -> Head:
    options = request.stream_options
    return Head(
        id=answer_id(prefix),
        model=request.model,
        created=int(time.time()),
        fingerprint=fingerprint(model),
        choices=request.n or 1,
        include_usage=bool(options and options.include_usage),
    )


def _answer(
    parts: Parts,
    req: falcon.Request,
    resp: falcon.Response,
    request: Sampled,
    wanted: Sequence[GenerationRequest],
    writer: Callable[[Sequence[Generation]], Writer],
) -> None:
    _check_places(parts, request, len(wanted))
    generations: list[Generation] = []
    pieces = writer(generations)

    def submit() -> Sequence[Generation]:
        generations.extend(parts.service.submit_all(wanted))
        return generations

    reply = parts.replies.open(req.env, req.context.access, submit)
    if request.stream:
        stream(reply, pieces, resp, heartbeat=parts.config.limits.heartbeat)
    else:
        whole(reply, pieces, resp)


def _check_places(parts: Parts, request: Sampled, choices: int) -> None:
    """Refuses what could never be let in: a full queue would send it away for ever."""
    places = parts.config.concurrency + parts.config.queue
    if choices > places:
        field = "n" if choices == request.n else "prompt"
        raise invalid(f"`{field}` asks for {choices} answers at once, and this server has places for {places}.", field)
