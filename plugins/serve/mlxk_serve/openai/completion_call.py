"""A request to OpenAI's completion routes: its generations, response encoder and error locations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlxk_core.api.errors import ContextLengthExceeded, InvalidOption
from mlxk_core.api.generation import GenerationRequest
from mlxk_core.api.models import Model
from mlxk_core.api.server import ApiError, ResponseEncoder
from mlxk_serve.catalog import fingerprint
from mlxk_serve.http.errors import api_error
from mlxk_serve.http.ids import response_id
from mlxk_serve.openai.encoders import ChatEncoder, Head, TextEncoder
from mlxk_serve.openai.reasoning import reasoning_is_hidden
from mlxk_serve.openai.requests import ChatRequest, CommonRequest, TextRequest
from mlxk_serve.openai.translate import chat_requests, continuous_usage, text_requests


@dataclass(frozen=True)
class CompletionCall:
    """A translated request. `choices` generations share one prompt."""

    requests: Sequence[GenerationRequest]
    encoder: ResponseEncoder
    choices: int

    def map_error(self, index: int, error: Exception) -> Exception:
        """Name the failed prompt if there are several."""
        if len(self.requests) == self.choices:
            return error
        if isinstance(error, ContextLengthExceeded) or (isinstance(error, InvalidOption) and error.option == "prompt"):
            seen, at = api_error(error), f"prompt[{index // self.choices}]"
            return ApiError(seen.status, f"{at}: {seen.message}", code=seen.code, param=at)
        return error


def chat_call(
    request: ChatRequest, name: str, model: Model, *, max_tokens: int | None, hide_reasoning: bool
) -> CompletionCall:
    """Translate a chat request. `max_tokens` is the server's default budget."""
    hidden = hide_reasoning or request.include_reasoning is False or reasoning_is_hidden(request)
    encoder = ChatEncoder(
        _head("chatcmpl", request, name, model),
        hide_reasoning=hidden,
        logprobs=bool(request.logprobs),
        prompt_logprobs=request.prompt_logprobs,
    )
    return CompletionCall(chat_requests(request, model, max_tokens), encoder, request.n or 1)


def text_call(request: TextRequest, name: str, model: Model) -> CompletionCall:
    """Translate a completion request."""
    encoder = TextEncoder(
        _head("cmpl", request, name, model),
        echo=bool(request.echo),
        logprobs=request.logprobs,
        prompt_logprobs=request.prompt_logprobs,
    )
    return CompletionCall(text_requests(request, model), encoder, request.n or 1)


def _head(prefix: str, request: CommonRequest, name: str, model: Model) -> Head:
    options = request.stream_options
    return Head(
        id=response_id(prefix),
        model=name,
        created=int(time.time()),
        fingerprint=fingerprint(model),
        choices=request.n or 1,
        include_usage=bool(options and options.include_usage),
        continuous_usage=continuous_usage(request),
    )
