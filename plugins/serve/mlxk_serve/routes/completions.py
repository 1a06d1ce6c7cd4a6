"""`/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import falcon

from mlxk_core.api.errors import ContextLengthExceeded, InvalidOption
from mlxk_core.api.generation import Generation, GenerationRequest
from mlxk_core.api.models import Model
from mlxk_core.api.server import ResponseEncoder
from mlxk_serve.catalog import fingerprint
from mlxk_serve.context import Parts
from mlxk_serve.http.errors import ApiError, api_error, invalid
from mlxk_serve.http.ids import answer_id
from mlxk_serve.http.responses import Told, stream, whole
from mlxk_serve.openai.encoders import ChatWriter, Head, TextWriter
from mlxk_serve.openai.requests import ChatRequest, Sampled, TextRequest, decode
from mlxk_serve.openai.translate import chat_requests, reasoning_is_hidden, text_requests


class ChatCompletions:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        config = self._parts.config
        request = decode(req.bounded_stream.read(), ChatRequest)
        model = _model(self._parts, req, request)
        hidden = config.hide_reasoning or request.include_reasoning is False or reasoning_is_hidden(request)
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
        wanted = text_requests(request, model)
        choices = request.n or 1
        _answer(
            self._parts,
            req,
            resp,
            request,
            wanted,
            lambda generations: TextWriter(
                _head("cmpl", request, model),
                echo=(lambda index: generations[index].prompt_text or "") if request.echo else None,
                logprobs=request.logprobs,
            ),
            lambda index, error: error if len(wanted) == choices else _of_prompt(index // choices, error),
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
    writer: Callable[[Sequence[Generation]], ResponseEncoder],
    told: Told = lambda index, error: error,
) -> None:
    _check_places(parts, request, len(wanted))
    generations: list[Generation] = []
    pieces = writer(generations)

    def submit() -> Sequence[Generation]:
        generations.extend(parts.service.submit_all(wanted))
        return generations

    reply = parts.replies.open(req.env, req.context.access, submit, told)
    if request.stream:
        stream(reply, pieces, resp, heartbeat=parts.config.limits.heartbeat)
    else:
        whole(reply, pieces, resp)


def _of_prompt(number: int, error: Exception) -> Exception:
    """Names the one of several prompts that is at fault."""
    if isinstance(error, ContextLengthExceeded) or (isinstance(error, InvalidOption) and error.option == "prompt"):
        told = api_error(error)
        return ApiError(told.status, f"prompt[{number}]: {told.message}", code=told.code, param=f"prompt[{number}]")
    return error


def _check_places(parts: Parts, request: Sampled, choices: int) -> None:
    """Refuses what could never be let in: a full queue would send it away for ever."""
    places = parts.config.concurrency + parts.config.queue
    if choices > places:
        field = "n" if choices == request.n else "prompt"
        raise invalid(f"`{field}` asks for {choices} answers at once, and this server has places for {places}.", field)
