"""`/tokenize`, `/detokenize` and `/apply-template`, in vLLM's and llama.cpp's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import falcon
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.models import Model, model_context_length
from mlxk_serve.catalog import Catalog
from mlxk_serve.http.errors import invalid, unsupported
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
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeResponse(Struct, kw_only=True):
    """Token ids of a text. `max_model_len` is the model's context length in tokens, if known."""

    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | UnsetType = UNSET


class TokenizerInfo(Struct, kw_only=True):
    """`GET /tokenizer_info`: special tokens as text, and the chat template."""

    tokenizer_class: str | None
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    model_max_length: int | None
    vocab_size: int
    chat_template: str | None


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
        for name, neutral in (("add_generation_prompt", True), ("continue_final_message", False)):
            if getattr(request, name) is not neutral:
                raise unsupported(name)
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


class TokenizerInfoResource(_Resource):
    """`GET /tokenizer_info`."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        model = self._model(req.get_param("model"))
        config = model.tokenizer_config
        with self._service.tokenizer(model) as tokenizer:
            around = tokenizer.encode("", add_special_tokens=True)
            bos = _special(config, "bos_token") or (tokenizer.decode(around[:1]) if around else None)
            eos = _special(config, "eos_token") or _eos_text(model, tokenizer)
            _send(resp, TokenizerInfo(
                tokenizer_class=config.get("tokenizer_class"),
                bos_token=bos,
                eos_token=eos,
                pad_token=_special(config, "pad_token"),
                unk_token=_special(config, "unk_token"),
                model_max_length=model_context_length(model),
                vocab_size=tokenizer.vocab_size,
                chat_template=model.chat_template,
            ))  # fmt: skip


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


def _special(config: Mapping[str, Any], name: str) -> str | None:
    """Return a special token of `tokenizer_config.json`: a text, or an object with it."""
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _eos_text(model: Model, tokenizer: Tokenizer) -> str | None:
    header = model.shared_gguf
    ids = header.metadata.get("tokenizer.ggml.eos_token_id") if header else model.config.get("eos_token_id")
    id = ids[0] if isinstance(ids, list) and ids else ids
    return tokenizer.decode([id]) if isinstance(id, int) and 0 <= id < tokenizer.vocab_size else None


def _send(resp: falcon.Response, value: Struct) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(value)
