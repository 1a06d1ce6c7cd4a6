"""From a client's request to what the generation service is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlxk_core.api import Message, Model, ToolCall
from mlxk_core.api.generation import GenerationRequest, TokenPolicy
from mlxk_serve.http.errors import invalid, unsupported
from mlxk_serve.openai.requests import ChatMessage, ChatRequest, CommonRequest, Part, TextRequest
from mlxk_serve.openai.sampling import sampling_of
from mlxk_serve.openai.structure import constraint_of, thinking_budget_of, tool_choice_of
from mlxk_serve.openai.tools import tools_of

TEXT_MAX_TOKENS = 16  # OpenAI's default for completions
MOST_CHOICES = 64
_NO_EFFORT = ("none", "no_think")
# What the server itself hands to a chat template, and what would change who writes the prompt.
_OURS = frozenset(
    {"messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt",
     "continue_final_message", "tokenize", "return_dict", "return_tensors"}
)  # fmt: skip


def chat_requests(request: ChatRequest, model: Model, default_max_tokens: int | None) -> list[GenerationRequest]:
    """The generations that answer `request`, one a choice."""
    if request.top_logprobs and not request.logprobs:
        raise invalid("`top_logprobs` needs `logprobs: true`.", "top_logprobs")
    asked = request.max_completion_tokens or request.max_tokens
    choice = tool_choice_of(request)
    return _choices(
        request,
        GenerationRequest(
            model=model,
            prompt=[_message(message, f"messages[{i}]") for i, message in enumerate(request.messages)],
            sampling=sampling_of(request, model, logprobs=(request.top_logprobs or 0) if request.logprobs else None),
            max_tokens=asked or default_max_tokens,
            token_policy=TokenPolicy.HALF_CONTEXT,
            stop=_stops(request),
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
    """The generations that answer `request`: every prompt's choices, in order."""
    if request.echo and request.logprobs is not None:
        raise unsupported("echo", "`echo` with `logprobs` is not supported: the prompt's tokens are not scored.")
    sampling = sampling_of(request, model, logprobs=request.logprobs)
    return [
        choice
        for prompt in _prompts(request)
        for choice in _choices(
            request,
            GenerationRequest(
                model=model,
                prompt=prompt,
                sampling=sampling,
                max_tokens=request.max_tokens or TEXT_MAX_TOKENS,
                token_policy=TokenPolicy.HALF_CONTEXT,
                stop=_stops(request),
                constraint=constraint_of(request),
                thinking_budget=thinking_budget_of(request),
            ),
        )
    ]


def _choices(request: CommonRequest, one: GenerationRequest) -> list[GenerationRequest]:
    """`n` of them; with a seed each has its own, or they would all be the same."""
    seed = one.sampling.seed
    if seed is None:
        return [one] * (request.n or 1)
    return [replace(one, sampling=replace(one.sampling, seed=seed + i)) for i in range(request.n or 1)]


def _stops(request: CommonRequest) -> tuple[str, ...]:
    stop = request.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _message(message: ChatMessage, at: str) -> Message:
    if message.content is None and not message.tool_calls and message.role != "assistant":
        raise invalid(f"`{at}.content` is required.", f"{at}.content")
    if message.function_call is not None:
        raise unsupported(f"{at}.function_call", f"`{at}.function_call` is not supported here; `tool_calls` is.")
    if message.role == "tool" and message.tool_call_id is None:
        raise invalid(f"`{at}.tool_call_id` is required in a message of role tool.", f"{at}.tool_call_id")
    return Message(
        role="system" if message.role == "developer" else message.role,
        content=_text(message.content, f"{at}.content"),
        reasoning=message.reasoning_content if message.reasoning_content is not None else message.reasoning,
        name=message.name,
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments or "")
            for call in message.tool_calls or ()
        ),
        tool_call_id=message.tool_call_id,
    )


def _text(content: str | Sequence[Part] | None, at: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for i, part in enumerate(content):
        if part.type != "text":
            raise unsupported(f"{at}[{i}].type", f"`{at}[{i}]`: only parts of type text are supported.")
        if part.text is None:
            raise invalid(f"`{at}[{i}].text` is required.", f"{at}[{i}].text")
    return "".join(part.text or "" for part in content)


def _template_options(request: ChatRequest, model: Model) -> dict[str, Any]:
    options: dict[str, Any] = {}
    effort = reasoning_effort(request)
    if effort == "none":
        # Templates that know no effort know one of these switches.
        options |= {"reasoning_effort": _no_effort(model), "enable_thinking": False, "thinking": False}
    elif effort is not None:
        options["reasoning_effort"] = effort
    given = request.chat_template_kwargs or {}
    for name in sorted(_OURS & given.keys()):
        raise unsupported(f"chat_template_kwargs.{name}", f"`chat_template_kwargs.{name}` is the server's to set.")
    return options | given


def reasoning_effort(request: ChatRequest) -> str | None:
    """Return how much the model is asked to reason, under either name."""
    return request.reasoning_effort or (request.reasoning.effort if request.reasoning else None)


def reasoning_is_hidden(request: ChatRequest) -> bool:
    """Return whether `request` wants no reasoning in the response."""
    return reasoning_effort(request) == "none" or bool(request.reasoning and request.reasoning.exclude)


def _no_effort(model: Model) -> str:
    """`none` in the word of the model's template: Hunyuan's refuse any that they do not know."""
    template = model.chat_template or ""
    words = (word for word in _NO_EFFORT if f"'{word}'" in template or f'"{word}"' in template)
    return next(words, _NO_EFFORT[0])


def _prompts(request: TextRequest) -> list[str | list[int]]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise invalid("`prompt` is an empty list.", "prompt")
    if all(isinstance(part, int) for part in prompt):
        return [[part for part in prompt if isinstance(part, int)]]
    texts = [part for part in prompt if isinstance(part, str)]
    lists = [part for part in prompt if isinstance(part, list)]
    if len(texts) != len(prompt) and len(lists) != len(prompt):
        raise invalid("`prompt` must be a text, a list of texts, a list of token ids, or a list of those.", "prompt")
    if [] in lists:
        at = f"prompt[{lists.index([])}]"
        raise invalid(f"`{at}` is an empty list.", at)
    if len(prompt) * (request.n or 1) > MOST_CHOICES:
        raise invalid(f"`prompt` times `n` asks for more than {MOST_CHOICES} answers at once.", "prompt")
    return [*texts, *lists]
