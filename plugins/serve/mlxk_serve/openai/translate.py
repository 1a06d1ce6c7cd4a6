"""Translation of OpenAI requests into generation requests."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import Raw

from mlxk_core.api import Message, Model, ToolCall
from mlxk_core.api.generation import (
    GenerationRequest,
    TokenPolicy,
    check_template_options,
    effort_options,
    thinking_options,
)
from mlxk_protocol.decode import required
from mlxk_protocol.errors import unsupported_content
from mlxk_protocol.keep_alive import keep_alive_seconds
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.constraints import constraint_of
from mlxk_serve.openai.reasoning import (
    check_reasoning,
    check_template_kwargs,
    reasoning_effort,
    thinking_budget_of,
    thinking_switch,
)
from mlxk_serve.openai.requests import ChatMessage, ChatRequest, CommonRequest, Part, TextRequest
from mlxk_serve.openai.sampling import sampling_of
from mlxk_serve.openai.tools import tool_choice_of, tools_of

TEXT_MAX_TOKENS = 16  # OpenAI's default for completions
MOST_CHOICES = 64
_LONGEST_SUFFIXES = 1 << 23  # characters: each prompt is put before its own
# Variables of chat templates that only the server sets.
_OURS = frozenset(
    {"messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt",
     "continue_final_message", "tokenize", "return_dict", "return_tensors",
     "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}
)  # fmt: skip


def chat_requests(request: ChatRequest, model: Model, default_max_tokens: int | None) -> list[GenerationRequest]:
    """Return the generation requests of a chat, one for each choice."""
    if request.top_logprobs and not request.logprobs:
        raise invalid("`top_logprobs` needs `logprobs: true`.", "top_logprobs")
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    _check_limit(limit, "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens")
    _check_stream(request)
    check_reasoning(request)
    choice = tool_choice_of(request)
    return _choices(
        request,
        GenerationRequest(
            model=model,
            prompt=messages_of(request.messages),
            sampling=sampling_of(request, model, logprobs=(request.top_logprobs or 0) if request.logprobs else None),
            max_tokens=None if limit == -1 else limit or default_max_tokens,
            token_policy=TokenPolicy.NO_LIMIT if limit == -1 else TokenPolicy.HALF_CONTEXT,
            stop=_stops(request),
            prompt_logprobs=request.prompt_logprobs,
            tools=() if choice.none else tools_of(request.tools or ()),
            parallel_calls=request.parallel_tool_calls is not False and not choice.one,
            constraint=constraint_of(request),
            must_call=choice.required,
            tool_names=choice.names,
            thinking_budget=thinking_budget_of(request),
            template_options=_template_options(request, model),
            keep_to_template=True,
        ),
    )


def text_requests(request: TextRequest, model: Model) -> list[GenerationRequest]:
    """Return the generation requests of a completion: the choices of every prompt, in order."""
    if request.suffix and request.echo:
        raise invalid("`echo` cannot be used with `suffix`.", "echo")
    for name in ("effort", "exclude"):  # a text has no template to switch, and no reasoning apart from it
        if getattr(request.reasoning, name, None):
            raise unsupported(f"reasoning.{name}")
    if not request.echo:
        _check_limit(request.max_tokens, "max_tokens")
    _check_stream(request)
    scores = [
        count for count in (request.prompt_logprobs, request.logprobs if request.echo else None) if count is not None
    ]
    prompts = _prompts(request)
    if len(prompts) * len(request.suffix or "") > _LONGEST_SUFFIXES:
        raise invalid(
            f"`suffix` must have at most {_LONGEST_SUFFIXES:,} characters for all prompts together.", "suffix"
        )
    sampling = sampling_of(request, model, logprobs=request.logprobs)
    constraint = constraint_of(request)  # one for all prompts: what is shared is checked once
    default_max_tokens = model.settings.max_tokens or TEXT_MAX_TOKENS
    return [
        choice
        for prompt in prompts
        for choice in _choices(
            request,
            GenerationRequest(
                model=model,
                prompt=prompt,
                sampling=sampling,
                max_tokens=_text_max_tokens(request.max_tokens, default_max_tokens),
                suffix=request.suffix or None,
                prompt_logprobs=max(scores, default=None),
                echo=bool(request.echo),
                token_policy=TokenPolicy.NO_LIMIT if request.max_tokens == -1 else TokenPolicy.HALF_CONTEXT,
                stop=_stops(request),
                constraint=constraint,
                thinking_budget=thinking_budget_of(request),
            ),
        )
    ]


def _text_max_tokens(limit: int | None, default: int) -> int | None:
    if limit is None:
        return default
    return None if limit == -1 else limit


def _check_stream(request: CommonRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise invalid("`stream_options` needs `stream: true`.", "stream_options")
    if request.prompt_logprobs is not None and request.stream:
        raise invalid("`prompt_logprobs` is not available with `stream`.", "prompt_logprobs")


def _check_limit(limit: int | None, field: str) -> None:
    if limit == 0:
        raise invalid(f"`{field}` must be at least 1, or -1 for no limit.", field)


def _choices(request: CommonRequest, one: GenerationRequest) -> list[GenerationRequest]:
    """Return `n` of them, with the options of tokens; with a seed each has its own, or they would all be the same."""
    one = replace(
        one,
        stop_tokens=tuple(request.stop_token_ids or ()),
        ignore_eos=bool(request.ignore_eos),
        min_tokens=request.min_tokens or 0,
        # LM Studio's word, then Ollama's
        ttl=keep_alive_seconds(request.keep_alive) if request.ttl is None else request.ttl,
        report_usage=continuous_usage(request),
    )
    seed = one.sampling.seed
    if seed is None:
        return [one] * (request.n or 1)
    return [replace(one, sampling=replace(one.sampling, seed=seed + i)) for i in range(request.n or 1)]


def continuous_usage(request: CommonRequest) -> bool:
    """Return whether every chunk of the stream carries the usage so far."""
    options = request.stream_options
    return bool(request.stream and options and options.continuous_usage_stats)


def _stops(request: CommonRequest) -> tuple[str, ...]:
    stop = request.stop or ()
    return tuple(text for text in ((stop,) if isinstance(stop, str) else stop) if text)


def messages_of(messages: Sequence[ChatMessage]) -> list[Message]:
    """Return the conversation. Calls and results without an id get one from their place."""
    found: list[Message] = []
    unanswered: OrderedDict[str, None] = OrderedDict()
    for i, message in enumerate(messages):
        at = f"messages[{i}]"
        if message.content is None and not message.tool_calls and message.role != "assistant":
            raise required(f"{at}.content")
        if bytes(message.function_call) not in (b"", b"null"):
            raise unsupported(f"{at}.function_call", f"`{at}.function_call` is not supported. Use `tool_calls`.")
        calls = tuple(
            ToolCall(
                id=call.id or f"call_{i}_{j}",
                name=call.function.name,
                arguments=_arguments(call.function.arguments, f"{at}.tool_calls[{j}].function.arguments"),
            )
            for j, call in enumerate(message.tool_calls or ())
        )
        result_of = message.tool_call_id
        if message.role == "tool":
            if not result_of and not unanswered:
                raise invalid(f"`{at}.tool_call_id` is required: no call is unanswered.", f"{at}.tool_call_id")
            result_of = result_of or next(iter(unanswered))
            unanswered.pop(result_of, None)
        elif calls:
            unanswered = OrderedDict.fromkeys(call.id for call in calls)
        found.append(
            Message(
                role="system" if message.role == "developer" else message.role,
                content=_text(message.content, f"{at}.content"),
                reasoning=message.reasoning_content if message.reasoning_content is not None else message.reasoning,
                name=message.name,
                tool_calls=calls,
                tool_call_id=result_of,
            )
        )
    return found


def _arguments(arguments: Raw, at: str) -> str:
    """Return the arguments of a call as JSON text: OpenAI's clients send the text, others the object."""
    text = bytes(arguments)
    if not text or text == b"null":
        return ""
    try:
        return str(msgspec.json.decode(text)) if text.startswith(b'"') else text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):  # skipped until now: only here are its bytes looked at
        raise invalid(f"`{at}` is not UTF-8 text.", at) from None


def _text(content: str | Sequence[Part] | None, at: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for i, part in enumerate(content):
        if part.type != "text":
            raise unsupported_content(f"{at}[{i}].type", part.type)
        if part.text is None:
            raise required(f"{at}[{i}].text")
    return "".join(part.text or "" for part in content)


def _template_options(request: ChatRequest, model: Model) -> dict[str, Any]:
    options = effort_options(model, reasoning_effort(request))
    thinking = thinking_switch(request)
    if thinking is not None:
        options |= thinking_options(thinking)
    check_template_kwargs(request, model)
    return options | template_kwargs(request.chat_template_kwargs)


def template_kwargs(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return `chat_template_kwargs`. Raises the error of one that only the server sets, and of too many values."""
    for name in sorted(_OURS & (given or {}).keys()):
        raise unsupported(
            f"chat_template_kwargs.{name}", f"`chat_template_kwargs.{name}` is set by the server. Omit it."
        )
    check_template_options(given or {}, option="chat_template_kwargs")
    return dict(given or {})


def _prompts(request: TextRequest) -> list[str | array[int]]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise invalid("`prompt` must not be empty.", "prompt")
    if all(isinstance(part, int) for part in prompt):
        return [_token_ids(prompt)]
    texts = [part for part in prompt if isinstance(part, str)]
    lists = [part for part in prompt if isinstance(part, list)]
    if len(texts) != len(prompt) and len(lists) != len(prompt):
        raise invalid("`prompt` must be a text, a list of texts, a list of token ids, or a list of those.", "prompt")
    if [] in lists:
        at = f"prompt[{lists.index([])}]"
        raise invalid(f"`{at}` must not be empty.", at)
    if len(prompt) * (request.n or 1) > MOST_CHOICES:
        raise invalid(f"`prompt` times `n` must be at most {MOST_CHOICES}.", "prompt")
    return [*texts, *map(_token_ids, lists)]


def _token_ids(tokens: Sequence[str | int | list[int]]) -> array[int]:
    """Return token ids as they are kept: a list takes five times as much, and each collection of garbage visits it."""
    try:
        return array("q", cast("Sequence[int]", tokens))
    except OverflowError:
        raise invalid("`prompt` has a token id that is out of range.", "prompt") from None
