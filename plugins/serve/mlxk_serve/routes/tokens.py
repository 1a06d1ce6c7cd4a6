"""`/tokenize`, `/detokenize` and `/apply-template`, in vLLM's and llama.cpp's shapes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import falcon
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mlxk_core.api.backends import Tokenizer
from mlxk_core.api.generation import GenerationRequest, GenerationService
from mlxk_core.api.models import Model, model_context_length
from mlxk_core.api.server import Cancellation
from mlxk_protocol.decode import decode
from mlxk_serve.catalog import Catalog
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.http.responder import Responder
from mlxk_serve.openai.requests import ChatMessage, TemplateOptions, ToolIn
from mlxk_serve.openai.tools import tools_of
from mlxk_serve.openai.translate import messages_of, template_kwargs
from mlxk_serve.routes.requested_model import requested_model
from mlxk_serve.routes.token_lists import LONGEST_DECODED, TokenList, pieces, token_texts

_LONGEST_TEXT = _MOST_TOKENS = 1 << 20
TokenId = Annotated[int, Meta(ge=0)]


class TokenizeRequest(Struct, kw_only=True):
    """`POST /tokenize`: a `prompt`, or `messages` that the chat template renders."""

    model: str | None = None
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    tools: Annotated[list[ToolIn], Meta(max_length=1024)] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: TemplateOptions | None = None


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
    tools: Annotated[list[ToolIn], Meta(max_length=1024)] | None = None
    chat_template_kwargs: TemplateOptions | None = None


class TemplateResponse(Struct):
    """A conversation as the model reads it."""

    prompt: str


class _Resource:
    """Respond on a separate thread: the model may have to be loaded, and a long text takes seconds."""

    def __init__(self, catalog: Catalog, service: GenerationService, responder: Responder) -> None:
        self._catalog = catalog
        self._service = service
        self._responder = responder

    def _model(self, req: falcon.Request, name: str | None) -> Model:
        return requested_model(self._catalog, req, name)[1]

    def _run(self, req: falcon.Request, resp: falcon.Response, work: Callable[[Cancellation], Iterable[bytes]]) -> None:
        self._responder.run(req, resp, work, content_type=falcon.MEDIA_JSON, stream=False)

    def _answer(self, req: falcon.Request, resp: falcon.Response, answer: Callable[[Cancellation], Struct]) -> None:
        self._run(req, resp, lambda cancellation: [msgspec.json.encode(answer(cancellation))])

    @contextmanager
    def _tokenizer(self, model: Model, cancellation: Cancellation, *, size: int = 0) -> Iterator[Tokenizer]:
        with (
            self._service.tokenizer(model, waiting=cancellation.check) as tokenizer,
            self._service.tokenizing(cancellation.check, size=size),
        ):
            cancellation.check()
            yield tokenizer

    def _request(self, request: TokenizeRequest | TemplateRequest, model: Model) -> GenerationRequest:
        return GenerationRequest(
            model=model,
            prompt=messages_of(request.messages or ()),
            tools=tools_of(request.tools or ()),
            template_options=template_kwargs(request.chat_template_kwargs),
            keep_to_template=True,
        )


class Tokenize(_Resource):
    """`POST /tokenize`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), TokenizeRequest)
        model = self._model(req, request.model)
        if (request.prompt is None) == (request.messages is None):
            raise invalid("Either `prompt` or `messages` is required.", "prompt")
        for name, neutral in (("add_generation_prompt", True), ("continue_final_message", False)):
            if getattr(request, name) is not neutral:
                raise unsupported(name)
        if request.prompt is not None and len(request.prompt) > _LONGEST_TEXT:
            raise invalid(f"`prompt` must have at most {_LONGEST_TEXT} characters.", "prompt")
        self._run(req, resp, lambda cancellation: self._tokenize(req, request, model, cancellation))

    def _tokenize(
        self, req: falcon.Request, request: TokenizeRequest, model: Model, cancellation: Cancellation
    ) -> Iterator[bytes]:
        found = self._tokens(request, model, cancellation)
        self._responder.hold(req, found.size)
        context_length = msgspec.json.encode(model_context_length(model))
        yield b'{"count":%d,"max_model_len":%s,"tokens":' % (len(found.ids), context_length)
        yield from found.ids_json()
        if found.texts is not None:
            yield b',"token_strs":'
            yield from found.texts_json()
        yield b"}"

    def _tokens(self, request: TokenizeRequest, model: Model, cancellation: Cancellation) -> TokenList:
        with self._service.tokenizer(model, waiting=cancellation.check) as tokenizer:
            ids = self._ids(request, model, tokenizer, cancellation)
            if not request.return_token_strs:
                return TokenList(ids)
            with self._service.tokenizing(cancellation.check, size=len(ids)):
                return TokenList(ids, token_texts(tokenizer, ids, cancellation))

    def _ids(
        self, request: TokenizeRequest, model: Model, tokenizer: Tokenizer, cancellation: Cancellation
    ) -> array[int]:
        """Return token ids. Raises `ApiError` (400) if they are too many, before another text is tokenized."""
        text = request.prompt
        if text is None:
            prompt = self._service.prompt(self._request(request, model), waiting=cancellation.check)
            return _checked(prompt.tokens, "messages")
        with self._service.tokenizing(cancellation.check, size=len(text)):
            return _checked(tokenizer.encode(text, add_special_tokens=request.add_special_tokens), "prompt")


class Detokenize(_Resource):
    """`POST /detokenize`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), DetokenizeRequest)
        model = self._model(req, request.model)
        self._answer(req, resp, lambda cancellation: self._detokenize(request, model, cancellation))

    def _detokenize(self, request: DetokenizeRequest, model: Model, cancellation: Cancellation) -> DetokenizeResponse:
        with self._tokenizer(model, cancellation, size=len(request.tokens)) as tokenizer:
            highest = max(request.tokens, default=0)
            if highest >= tokenizer.vocab_size:
                at = f"tokens[{request.tokens.index(highest)}]"
                raise invalid(f"`{at}`: {highest} is out of range (vocabulary size {tokenizer.vocab_size}).", at)
            self._check_length(request.tokens, tokenizer, cancellation)
            return DetokenizeResponse(tokenizer.decode(request.tokens))

    @staticmethod
    def _check_length(tokens: Sequence[int], tokenizer: Tokenizer, cancellation: Cancellation) -> None:
        """Raise for a text that is too long, before it is built: one token may have dozens of characters."""
        length = 0
        for piece in pieces(tokens, cancellation):
            length += len(tokenizer.decode(piece))
            if length > LONGEST_DECODED:
                raise invalid(f"`tokens` must have at most {LONGEST_DECODED:,} characters.", "tokens")


class TokenizerInfoResource(_Resource):
    """`GET /tokenizer_info`."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        model = self._model(req, req.get_param("model"))
        self._answer(req, resp, lambda cancellation: self._info(model, cancellation))

    def _info(self, model: Model, cancellation: Cancellation) -> TokenizerInfo:
        config = model.tokenizer_config
        with self._tokenizer(model, cancellation) as tokenizer:
            around = tokenizer.encode("", add_special_tokens=True)
            bos = _special(config, "bos_token") or (tokenizer.decode(around[:1]) if around else None)
            eos = _special(config, "eos_token") or _eos_text(model, tokenizer)
            return TokenizerInfo(
                tokenizer_class=config.get("tokenizer_class"),
                bos_token=bos,
                eos_token=eos,
                pad_token=_special(config, "pad_token"),
                unk_token=_special(config, "unk_token"),
                model_max_length=model_context_length(model),
                vocab_size=tokenizer.vocab_size,
                chat_template=model.chat_template,
            )


class ApplyTemplate(_Resource):
    """`POST /apply-template`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        request = decode(req.bounded_stream.read(), TemplateRequest)
        model = self._model(req, request.model)
        prompt = self._request(request, model)

        def answer(cancellation: Cancellation) -> Struct:
            return TemplateResponse(self._service.prompt(prompt, waiting=cancellation.check, tokenize=False).text)

        self._answer(req, resp, answer)


def _checked(tokens: Sequence[int], name: str) -> array[int]:
    """Return the ids of the tokens of the field `name`. A list of them takes five times the memory."""
    if len(tokens) > _MOST_TOKENS:
        raise invalid(f"`{name}` must have at most {_MOST_TOKENS:,} tokens ({len(tokens):,}).", name)
    return array("q", tokens)


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
