"""`/tokenize`, `/detokenize` and `/apply-template`, in vLLM's and llama.cpp's shapes."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.models import Model, model_context_length
from mlxk_serve.catalog import Catalog
from mlxk_serve.http.errors import invalid
from mlxk_serve.openai.requests import ChatMessage, ToolIn, decode_other
from mlxk_serve.openai.tools import tools_of
from mlxk_serve.openai.translate import messages_of
from mlxk_serve.routes.completions import read_body

_LONGEST_TEXT = 4 << 20
TokenId = Annotated[int, Meta(ge=0)]


class TokenizeRequest(Struct, kw_only=True):
    """`POST /tokenize`: a `prompt`, or `messages` that the chat template renders."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    tools: list[ToolIn] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeResponse(Struct, kw_only=True):
    """Token ids of a text. `max_model_len` is the model's context length in tokens, if known."""

    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | UnsetType = UNSET


class DetokenizeRequest(Struct, kw_only=True):
    """`POST /detokenize`."""

    model: str | None = None
    tokens: Annotated[list[TokenId], Meta(max_length=1 << 20)]


class DetokenizeResponse(Struct):
    """The text of token ids, special tokens included."""

    prompt: str


class TemplateRequest(Struct, kw_only=True):
    """`POST /apply-template`."""

    model: str | None = None
    messages: list[ChatMessage]
    tools: list[ToolIn] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TemplateResponse(Struct):
    """A conversation as the model reads it."""

    prompt: str


class _Resource:
    def __init__(self, catalog: Catalog, service: GenerationService) -> None:
        self._catalog = catalog
        self._service = service

    def _model(self, name: str | None) -> Model:
        found = name or self._catalog.default()
        if found is None:
            raise invalid("`model` is required. `GET /v1/models` lists the available models.", "model")
        return self._catalog.get(found)


class Tokenize(_Resource):
    """`POST /tokenize`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode_other(read_body(req), TokenizeRequest)
        model = self._model(request.model)
        if (request.prompt is None) == (request.messages is None):
            raise invalid("Either `prompt` or `messages` is required.", "prompt")
        if request.prompt is not None:
            if len(request.prompt) > _LONGEST_TEXT:
                raise invalid(f"`prompt` must have at most {_LONGEST_TEXT} characters.", "prompt")
            with self._service.tokenizer(model) as tokenizer:
                tokens = tokenizer.encode(request.prompt, add_special_tokens=request.add_special_tokens)
        else:
            prompt = self._service.prompt(
                GenerationRequest(
                    model=model,
                    prompt=messages_of(request.messages or ()),
                    tools=tools_of(request.tools or ()),
                    template_options=request.chat_template_kwargs or {},
                    keep_to_template=True,
                )
            )
            tokens = list(prompt.tokens)
        strings: list[str] | UnsetType = UNSET
        if request.return_token_strs:
            with self._service.tokenizer(model) as tokenizer:
                strings = [tokenizer.decode([token]) for token in tokens]
        _send(resp, TokenizeResponse(
            count=len(tokens), max_model_len=model_context_length(model), tokens=list(tokens), token_strs=strings
        ))  # fmt: skip


class Detokenize(_Resource):
    """`POST /detokenize`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode_other(read_body(req), DetokenizeRequest)
        with self._service.tokenizer(self._model(request.model)) as tokenizer:
            for i, token in enumerate(request.tokens):
                if token >= tokenizer.vocab_size:
                    at = f"tokens[{i}]"
                    raise invalid(f"`{at}`: {token} is out of range (vocabulary size {tokenizer.vocab_size}).", at)
            _send(resp, DetokenizeResponse(tokenizer.decode(request.tokens)))


class ApplyTemplate(_Resource):
    """`POST /apply-template`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode_other(read_body(req), TemplateRequest)
        prompt = self._service.prompt(
            GenerationRequest(
                model=self._model(request.model),
                prompt=messages_of(request.messages),
                tools=tools_of(request.tools or ()),
                template_options=request.chat_template_kwargs or {},
                keep_to_template=True,
            )
        )
        _send(resp, TemplateResponse(prompt.text))


def _send(resp: falcon.Response, value: Struct) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(value)
